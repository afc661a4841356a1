/// Writes commands into a command buffer; one encoder at a time, ended before the next or the commit.
public protocol MTLCommandEncoder: AnyObject {
  var device: any MTLDevice { get }
  var label: String? { get set }
  func endEncoding()
  func insertDebugSignpost(_ string: String)
  func pushDebugGroup(_ string: String)
  func popDebugGroup()
}

/// Bindings last until they are replaced or the encoder ends. A call that Metal's validation would refuse becomes the
/// command buffer's error, and nothing after it is executed.
public protocol MTLComputeCommandEncoder: MTLCommandEncoder {
  var dispatchType: MTLDispatchType { get }
  func setComputePipelineState(_ state: any MTLComputePipelineState)
  /// Nil unbinds. `offset` in bytes, less than the buffer's length.
  func setBuffer(_ buffer: (any MTLBuffer)?, offset: Int, index: Int)
  func setBufferOffset(_ offset: Int, index: Int)
  func setBuffers(_ buffers: [(any MTLBuffer)?], offsets: [Int], range: Range<Int>)
  /// Copies up to 4096 bytes, for an argument that is only read.
  func setBytes(_ bytes: UnsafeRawPointer, length: Int, index: Int)
  /// `length` in bytes, a multiple of 16.
  func setThreadgroupMemoryLength(_ length: Int, index: Int)
  func dispatchThreadgroups(_ threadgroupsPerGrid: MTLSize, threadsPerThreadgroup: MTLSize)
  /// Threadgroups at the grid's edges may be smaller.
  func dispatchThreads(_ threadsPerGrid: MTLSize, threadsPerThreadgroup: MTLSize)
  /// Reads the grid, three `UInt32`, when the command is executed; `indirectBufferOffset` is a multiple of 4.
  func dispatchThreadgroups(indirectBuffer: any MTLBuffer, indirectBufferOffset: Int, threadsPerThreadgroup: MTLSize)
  func memoryBarrier(scope: MTLBarrierScope)
  func memoryBarrier(resources: [any MTLResource])
  func useResource(_ resource: any MTLResource, usage: MTLResourceUsage)
  func useResources(_ resources: [any MTLResource], usage: MTLResourceUsage)
  func updateFence(_ fence: any MTLFence)
  func waitForFence(_ fence: any MTLFence)
}

/// Offsets, sizes and range bounds are in bytes and multiples of 4; nothing may be empty.
public protocol MTLBlitCommandEncoder: MTLCommandEncoder {
  func copy(
    from sourceBuffer: any MTLBuffer, sourceOffset: Int, to destinationBuffer: any MTLBuffer, destinationOffset: Int,
    size: Int)
  func fill(buffer: any MTLBuffer, range: Range<Int>, value: UInt8)
  /// For managed storage.
  func synchronize(resource: any MTLResource)
  func updateFence(_ fence: any MTLFence)
  func waitForFence(_ fence: any MTLFence)
}
