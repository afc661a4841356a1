/// A host tensor on its way to a kernel.
struct HostOperand {
  let name: String
  let tensor: HostTensor
  /// Where it lies.
  let bytes: UnsafeMutableRawBufferPointer
  let isWritten: Bool

  /// Elements a buffer of it holds.
  var count: Int {
    guard needsPacking else { return bytes.count / tensor.dtype.byteCount }
    return tensor.packed.sizes.reduce(1, *)  // no more than the elements it has
  }

  private var needsPacking: Bool { tensor.needsPacking }

  func overlaps(_ other: HostOperand) -> Bool {
    guard let mine = bytes.baseAddress, let theirs = other.bytes.baseAddress else { return false }
    return mine < theirs + other.bytes.count && theirs < mine + bytes.count
  }

  /// Why the device cannot use the memory as it is; nil where it can.
  func reasonToCopy(on device: Device) -> String? {
    if needsPacking { return "its elements do not lie side by side along the last dimension, or strides are negative" }
    guard device.tuning.wrapsHostMemory else { return "wrapping host memory is switched off" }
    guard !Device.wrapsAnyAlignment else { return nil }
    let page = Device.pageBytes
    guard Int(bitPattern: bytes.baseAddress).isMultiple(of: page), bytes.count.isMultiple(of: page) else {
      return "its memory is not whole pages of \(page) bytes"
    }
    return nil
  }
}

extension HostOperand {
  /// `tensor` as an operand of `operation`; nil if there is none, or nothing in it.
  ///
  /// - Parameter packs: whether strides may be any, and elements are brought together if need be.
  init?(
    _ tensor: HostTensor?, _ name: String, writes: Bool = false, packs: Bool = false, of operation: String
  ) throws(FAError) {
    guard let tensor else { return nil }
    if writes, tensor.isReadOnly {
      throw .invalid(operation, name, expected: "a writable tensor", got: "a read-only one")
    }
    let bytes = try tensor.memory(operation, name, packs: packs)
    if bytes.isEmpty { return nil }
    self.init(name: name, tensor: tensor, bytes: bytes, isWritten: writes)
  }

  /// Refuses memory that is written and shared.
  static func checkApart(_ operands: [HostOperand?], _ operation: String) throws(FAError) {
    for case let output? in operands where output.isWritten {
      for case let other? in operands where other.name != output.name && other.overlaps(output) {
        throw .invalid(
          operation, output.name, expected: "memory of its own", got: "memory it shares with \(other.name)")
      }
    }
  }

  /// What is copied on `device`, and why, as JSON; nil where nothing is.
  func copyReport(on device: Device) -> JSON? {
    reasonToCopy(on: device).map { reason in
      .object([
        ("operand", .string(name)), ("bytes", .int(count * tensor.dtype.byteCount)), ("reason", .string(reason)),
      ])
    }
  }
}

/// Binds host tensors to buffers: by wrapping, or through the device's staging memory.
struct HostOperands {
  private struct Copy {
    let operand: HostOperand
    let buffer: Buffer
  }

  let device: Device
  private var copies: [Copy] = []
  private var borrowed: [Buffer] = []

  init(device: Device) { self.device = device }

  mutating func bind(_ operands: [HostOperand?]) throws(FAError) -> [Buffer?] {
    var buffers: [Buffer?] = []
    buffers.reserveCapacity(operands.count)
    for operand in operands {
      guard let operand else {
        buffers.append(nil)
        continue
      }
      buffers.append(try bind(operand))
    }
    return buffers
  }

  mutating func bind(_ operand: HostOperand) throws(FAError) -> Buffer {
    if let buffer = operand.tensor.buffer { return buffer }
    let count = operand.count
    if operand.reasonToCopy(on: device) == nil {
      return try device.wrap(
        operand.bytes, operand.tensor.dtype, [count], isReadOnly: !operand.isWritten)
    }
    let buffer = try device.staging.makeBuffer(operand.tensor.dtype, [count], zeroed: false)
    copies.append(Copy(operand: operand, buffer: buffer))
    if operand.tensor.needsPacking {
      operand.tensor.pack(into: try buffer.hostPointer())
    } else if !operand.isWritten {
      try buffer.write(UnsafeRawBufferPointer(operand.bytes))
    }
    return buffer
  }

  /// Memory for the passes themselves; nil if they need none.
  mutating func scratch(_ bytes: Int) throws(FAError) -> Buffer? {
    guard bytes > 0 else { return nil }
    let buffer = try device.staging.makeBuffer(.u8, [bytes], zeroed: false)
    borrowed.append(buffer)
    return buffer
  }

  /// Copies what was written to where the caller wants it, row by row: between rows the memory may be somebody else's.
  func copyOut() {
    for copy in copies where copy.operand.isWritten {
      guard let source = try? copy.buffer.hostPointer(), let target = copy.operand.bytes.baseAddress else { continue }
      let tensor = copy.operand.tensor
      let last = tensor.rank - 1
      let rowBytes = tensor.shape[last] * tensor.dtype.byteCount
      forEachRow(of: tensor) { element in
        let offset = element * tensor.dtype.byteCount
        (target + offset).copyMemory(from: source + offset, byteCount: rowBytes)
      }
    }
  }

  /// Calls `body` with the first element of every row.
  private func forEachRow(of tensor: HostTensor, _ body: (Int) -> Void) {
    func walk(_ dimension: Int, _ element: Int) {
      guard dimension < tensor.rank - 1 else { return body(element) }
      for index in 0..<tensor.shape[dimension] { walk(dimension + 1, element + index * tensor.stride(dimension)) }
    }
    walk(0, 0)
  }

  /// Gives staging memory back; nothing may use it any more.
  mutating func recycle() {
    for copy in copies { try? device.staging.recycle(copy.buffer) }
    for buffer in borrowed { try? device.staging.recycle(buffer) }
    copies.removeAll()
    borrowed.removeAll()
  }
}
