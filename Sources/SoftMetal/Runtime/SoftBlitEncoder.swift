final class SoftBlitEncoder: SoftEncoder, MTLBlitCommandEncoder {
  func copy(
    from sourceBuffer: any MTLBuffer, sourceOffset: Int, to destinationBuffer: any MTLBuffer, destinationOffset: Int,
    size: Int
  ) {
    guard admits("copy"), let source = resolve(sourceBuffer, "copy: sourceBuffer"),
      let destination = resolve(destinationBuffer, "copy: destinationBuffer"),
      isRange(source, sourceOffset, size, "copy: source"),
      isRange(destination, destinationOffset, size, "copy: destination")
    else { return }
    use(source)
    use(destination)
    commandBuffer.list.append(
      .copy(from: source.base + sourceOffset, to: destination.base + destinationOffset, bytes: size))
    guard let written = destination.written else { return }
    // What is unknown stays so.
    commandBuffer.list.append(
      source.written.map { .copy(from: $0 + sourceOffset, to: written + destinationOffset, bytes: size) }
        ?? .fill(written + destinationOffset, bytes: size, value: 1))
  }

  func fill(buffer: any MTLBuffer, range: Range<Int>, value: UInt8) {
    guard admits("fill"), let buffer = resolve(buffer, "fill: buffer"),
      isRange(buffer, range.lowerBound, range.count, "fill")
    else { return }
    use(buffer)
    commandBuffer.list.append(.fill(buffer.base + range.lowerBound, bytes: range.count, value: value))
    guard let written = buffer.written else { return }
    commandBuffer.list.append(.fill(written + range.lowerBound, bytes: range.count, value: 1))
  }

  func synchronize(resource: any MTLResource) {
    guard admits("synchronize"), let buffer = resolve(resource, "synchronize") else { return }
    if buffer.storageMode != .managed {
      report(.invalidResource, "synchronize: expected a resource with managed storage, got \(buffer.storageMode)")
    }
  }

  private func isRange(_ buffer: SoftBuffer, _ offset: Int, _ size: Int, _ place: @autoclosure () -> String) -> Bool {
    guard size > 0 else {
      report(.invalidResource, "\(place()): size(\(size)) must not be 0")
      return false
    }
    guard offset % Limits.blitUnit == 0, size % Limits.blitUnit == 0 else {
      report(
        .invalidResource, "\(place()): offset(\(offset)) and size(\(size)) must be multiples of \(Limits.blitUnit)")
      return false
    }
    guard offset >= 0, offset <= buffer.length, size <= buffer.length - offset else {
      report(
        .invalidResource,
        "\(place()): offset(\(offset)) + size(\(size)) must be <= the buffer's length(\(buffer.length))")
      return false
    }
    return true
  }
}
