import CSoftMetal

final class SoftComputeEncoder: SoftEncoder, MTLComputeCommandEncoder {
  /// What is bound to a buffer slot.
  struct Slot {
    var base: UnsafeMutableRawPointer?
    var length = 0
    var offset = 0
    var isInline = false
    var written: UnsafeMutablePointer<UInt8>?
  }

  let dispatchType: MTLDispatchType
  private var pipeline: SoftPipeline?
  private let slots: UnsafeMutablePointer<Slot>
  /// By slot; empty until one is set.
  private var threadgroupBytes: [Int] = []
  /// In checks, what dispatches between two barriers share; and the place of the first since the last barrier, as they
  /// also change places.
  private let overlap: Overlap?
  private var firstUnordered: Int?

  init(_ commandBuffer: SoftCommandBuffer, opens: Bool, dispatchType: MTLDispatchType) {
    self.dispatchType = dispatchType
    slots = .allocate(capacity: Limits.bufferSlots)
    slots.initialize(repeating: Slot(), count: Limits.bufferSlots)
    overlap = dispatchType == .concurrent && commandBuffer.softDevice.options.checks ? Overlap() : nil
    super.init(commandBuffer, opens: opens)
    if let overlap { commandBuffer.list.keep(overlap) }
  }

  deinit { slots.deallocate() }

  // MARK: State

  func setComputePipelineState(_ state: any MTLComputePipelineState) {
    guard admits("setComputePipelineState") else { return }
    guard let state = state as? SoftPipeline, state.softDevice === softDevice else {
      return report(.invalidResource, "setComputePipelineState: the pipeline state belongs to another device")
    }
    pipeline = state
    commandBuffer.list.keep(state)
  }

  func setBuffer(_ buffer: (any MTLBuffer)?, offset: Int, index: Int) {
    guard admits("setBuffer"), isSlot(index, "setBuffer") else { return }
    guard let buffer else {
      slots[index] = Slot()
      return
    }
    guard let buffer = resolve(buffer, place("setBuffer", index)),
      isOffset(offset, length: buffer.length, "setBuffer", index)
    else { return }
    slots[index] = Slot(base: buffer.base, length: buffer.length, offset: offset, written: buffer.written)
    use(buffer)
  }

  func setBufferOffset(_ offset: Int, index: Int) {
    guard admits("setBufferOffset"), isSlot(index, "setBufferOffset") else { return }
    guard slots[index].base != nil, !slots[index].isInline else {
      return report(.invalidResource, "\(place("setBufferOffset", index)): no buffer is bound there")
    }
    guard isOffset(offset, length: slots[index].length, "setBufferOffset", index) else { return }
    slots[index].offset = offset
  }

  func setBuffers(_ buffers: [(any MTLBuffer)?], offsets: [Int], range: Range<Int>) {
    guard admits("setBuffers") else { return }
    guard buffers.count >= range.count, offsets.count >= range.count else {
      return report(
        .internal,
        "setBuffers: range \(range): expected \(range.count) buffers and offsets, "
          + "got \(buffers.count) and \(offsets.count)")
    }
    for (position, index) in range.enumerated() {
      setBuffer(buffers[position], offset: offsets[position], index: index)
    }
  }

  func setBytes(_ bytes: UnsafeRawPointer, length: Int, index: Int) {
    guard admits("setBytes"), isSlot(index, "setBytes") else { return }
    guard (1...Limits.inlineBytes).contains(length) else {
      return report(
        .internal, "\(place("setBytes", index)): length: expected 1 to \(Limits.inlineBytes) bytes, got \(length)")
    }
    let copy = commandBuffer.list.copyBytes(bytes, count: length)
    slots[index] = Slot(base: copy, length: length, isInline: true)
  }

  func setThreadgroupMemoryLength(_ length: Int, index: Int) {
    guard admits("setThreadgroupMemoryLength") else { return }
    func place() -> String { "setThreadgroupMemoryLength: index \(index)" }
    guard (0..<Limits.threadgroupSlots).contains(index) else {
      return report(.internal, "\(place()): expected 0 to \(Limits.threadgroupSlots - 1)")
    }
    guard (0...Limits.threadgroupBytes).contains(length) else {
      return report(.internal, "\(place()): length(\(length)) must be 0 to \(Limits.threadgroupBytes) bytes")
    }
    guard length % Limits.threadgroupUnit == 0 else {
      return report(
        .internal, "\(place()): length(\(length)) must be a multiple of \(Limits.threadgroupUnit) bytes")
    }
    if threadgroupBytes.isEmpty { threadgroupBytes = Array(repeating: 0, count: Limits.threadgroupSlots) }
    threadgroupBytes[index] = length
  }

  // Dispatches see each other's writes, and memory is always resident: only mistakes and checks matter here.

  func memoryBarrier(scope: MTLBarrierScope) {
    guard admits("memoryBarrier"), scope.contains(.buffers) else { return }
    reorder()
    if let overlap { commandBuffer.list.append(.barrier(.passUnretained(overlap), nil, bytes: 0)) }
  }

  func memoryBarrier(resources: [any MTLResource]) {
    guard admits("memoryBarrier"), !resources.isEmpty else { return }
    reorder()
    for resource in resources {
      guard let buffer = resolve(resource, "memoryBarrier"), let overlap else { continue }
      commandBuffer.list.append(.barrier(.passUnretained(overlap), buffer.base, bytes: buffer.length))
    }
  }

  func useResource(_ resource: any MTLResource, usage: MTLResourceUsage) {
    guard admits("useResource"), let buffer = resolve(resource, "useResource") else { return }
    use(buffer)
  }

  func useResources(_ resources: [any MTLResource], usage: MTLResourceUsage) {
    for resource in resources { useResource(resource, usage: usage) }
  }

  override func endEncoding() {
    reorder()
    super.endEncoding()
  }

  /// The dispatches since the last barrier may run in any order: so they do.
  private func reorder() {
    guard let first = firstUnordered else { return }
    firstUnordered = nil
    commandBuffer.list.reorder(from: first, seed: softDevice.options.seed &+ UInt64(first))
  }

  // MARK: Dispatches

  func dispatchThreadgroups(_ threadgroupsPerGrid: MTLSize, threadsPerThreadgroup: MTLSize) {
    guard admits("dispatchThreadgroups"), let pipeline = readyPipeline("dispatchThreadgroups") else { return }
    guard let grid = grid(pipeline, threadgroups: threadgroupsPerGrid, threads: threadsPerThreadgroup) else { return }
    encode(pipeline, grid)
  }

  func dispatchThreads(_ threadsPerGrid: MTLSize, threadsPerThreadgroup: MTLSize) {
    guard admits("dispatchThreads"), let pipeline = readyPipeline("dispatchThreads") else { return }
    guard let grid = grid(pipeline, gridThreads: threadsPerGrid, threads: threadsPerThreadgroup) else { return }
    encode(pipeline, grid)
  }

  func dispatchThreadgroups(
    indirectBuffer: any MTLBuffer, indirectBufferOffset: Int, threadsPerThreadgroup: MTLSize
  ) {
    let operation: StaticString = "dispatchThreadgroups(indirectBuffer:)"
    guard admits(operation), let pipeline = readyPipeline(operation),
      let arguments = resolve(indirectBuffer, "\(operation)")
    else { return }
    let bytes = 3 * MemoryLayout<UInt32>.size
    guard indirectBufferOffset >= 0, indirectBufferOffset % MemoryLayout<UInt32>.size == 0,
      indirectBufferOffset <= arguments.length - bytes
    else {
      return report(
        .invalidResource,
        "\(operation): indirectBufferOffset(\(indirectBufferOffset)) must be a multiple of 4 with \(bytes) bytes "
          + "behind it in a buffer of \(arguments.length)")
    }
    guard let grid = grid(pipeline, threadgroups: MTLSizeMake(1, 1, 1), threads: threadsPerThreadgroup) else { return }
    use(arguments)
    encode(pipeline, grid, threadgroupsAt: arguments.base + indirectBufferOffset)
  }

  private func readyPipeline(_ operation: StaticString) -> SoftPipeline? {
    if pipeline == nil { report(.internal, "\(operation): no compute pipeline state is set") }
    return pipeline
  }

  private func encode(_ pipeline: SoftPipeline, _ grid: Grid, threadgroupsAt memory: UnsafeRawPointer? = nil) {
    guard let bindings = encodeBindings(pipeline), let threadgroupBytes = encodeThreadgroupBytes(pipeline) else {
      return
    }
    let command = DispatchCommand(
      pipeline: .passUnretained(pipeline), grid: grid, bindings: bindings, threadgroupBytes: threadgroupBytes,
      overlap: overlap.map(Unmanaged.passUnretained))
    if overlap != nil, firstUnordered == nil { firstUnordered = commandBuffer.list.commands.count }
    commandBuffer.list.append(memory.map { .indirectDispatch(command, $0) } ?? .dispatch(command))
  }

  /// Writes down what the kernel's arguments are bound to; nil, and reported, if one is not bound as it must be.
  private func encodeBindings(_ pipeline: SoftPipeline) -> Range<Int>? {
    let first = commandBuffer.list.bindings.count
    commandBuffer.list.reserveBindings(pipeline.arguments.count)
    for argument in pipeline.arguments {
      let slot = slots[argument.slot]
      guard let base = slot.base else {
        if argument.isOptional { continue }
        reportBinding(pipeline, "missing Buffer binding at index \(argument.slot) for \(argument.name).")
        return nil
      }
      let bytes = UInt64(slot.length - slot.offset)
      guard bytes >= argument.minBytes else {
        reportBinding(
          pipeline,
          "argument \(argument.name) from buffer(\(argument.slot)) with offset(\(slot.offset)) and "
            + "length(\(slot.length)) has space for \(bytes) bytes, but argument has a length(\(argument.minBytes)).")
        return nil
      }
      guard !(slot.isInline && argument.isWritten) else {
        reportBinding(
          pipeline,
          "Bytes are being bound at index \(argument.slot) to a shader argument with write access enabled "
            + "(\(argument.name)).")
        return nil
      }
      commandBuffer.list.append(
        CommandList.Binding(
          slot: argument.slot, value: sm_binding(data: base + slot.offset, bytes: bytes),
          written: slot.written.map { $0 + slot.offset }))
    }
    return first..<commandBuffer.list.bindings.count
  }

  private func reportBinding(_ pipeline: SoftPipeline, _ text: String) {
    report(.invalidResource, "Compute Function(\(pipeline.name)): \(text)")
  }

  private func encodeThreadgroupBytes(_ pipeline: SoftPipeline) -> Range<Int>? {
    let first = commandBuffer.list.threadgroupBytes.count
    let total = threadgroupBytes.reduce(pipeline.staticThreadgroupMemoryLength, +)
    guard total <= Limits.threadgroupBytes else {
      report(
        .internal,
        "Compute Function(\(pipeline.name)): threadgroup memory: expected at most \(Limits.threadgroupBytes) bytes, "
          + "got \(total) (\(pipeline.staticThreadgroupMemoryLength) of them the kernel's own)")
      return nil
    }
    for slot in pipeline.kernel.threadgroupSlots where threadgroupBytes.isEmpty || threadgroupBytes[slot] == 0 {
      report(
        .internal,
        "Compute Function(\(pipeline.name)): threadgroup memory at index \(slot): expected a length, none is set")
      return nil
    }
    for (slot, bytes) in threadgroupBytes.enumerated() where bytes > 0 {
      commandBuffer.list.appendThreadgroupBytes(UInt64(bytes), slot: slot)
    }
    return first..<commandBuffer.list.threadgroupBytes.count
  }

  // MARK: Checks

  private func place(_ operation: StaticString, _ index: Int) -> String {
    let argument = pipeline.flatMap { pipeline in
      pipeline.arguments.first { $0.slot == index }.map { " (\($0.name) of \(pipeline.name))" }
    }
    return "\(operation): index \(index)\(argument ?? "")"
  }

  @inline(__always)
  private func isSlot(_ index: Int, _ operation: StaticString) -> Bool {
    if index >= 0, index < Limits.bufferSlots { return true }
    report(.internal, "\(operation): index \(index): expected 0 to \(Limits.bufferSlots - 1)")
    return false
  }

  @inline(__always)
  private func isOffset(_ offset: Int, length: Int, _ operation: StaticString, _ index: Int) -> Bool {
    if offset >= 0, offset < length { return true }
    report(
      .invalidResource, "\(place(operation, index)): offset(\(offset)) must be less than the buffer's length(\(length))"
    )
    return false
  }
}
