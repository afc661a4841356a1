/// Executes its command buffers one after another, in the order they were enqueued. May be used from any thread.
public protocol MTLCommandQueue: AnyObject, Sendable {
  var label: String? { get set }
  var device: any MTLDevice { get }
  /// Blocks while the queue has as many uncompleted command buffers as it may have.
  func makeCommandBuffer() -> (any MTLCommandBuffer)?
  /// The caller keeps the buffers alive that it binds; if one dies, nothing is executed.
  func makeCommandBufferWithUnretainedReferences() -> (any MTLCommandBuffer)?
  func makeCommandBuffer(descriptor: MTLCommandBufferDescriptor) -> (any MTLCommandBuffer)?
  func addResidencySet(_ residencySet: any MTLResidencySet)
  func addResidencySets(_ residencySets: [any MTLResidencySet])
  func removeResidencySet(_ residencySet: any MTLResidencySet)
  func removeResidencySets(_ residencySets: [any MTLResidencySet])
}

open class MTLCommandBufferDescriptor {
  public var retainedReferences = true
  public var errorOptions: MTLCommandBufferErrorOption = []
  public init() {}
}

public typealias MTLCommandBufferHandler = @Sendable (any MTLCommandBuffer) -> Void

/// Work for a queue, encoded by one thread and committed once.
public protocol MTLCommandBuffer: AnyObject {
  var device: any MTLDevice { get }
  var commandQueue: any MTLCommandQueue { get }
  var retainedReferences: Bool { get }
  var errorOptions: MTLCommandBufferErrorOption { get }
  var label: String? { get set }
  /// Seconds on the machine's monotonic clock, as are the next three; 0 until known.
  var kernelStartTime: CFTimeInterval { get }
  var kernelEndTime: CFTimeInterval { get }
  var gpuStartTime: CFTimeInterval { get }
  var gpuEndTime: CFTimeInterval { get }
  var status: MTLCommandBufferStatus { get }
  /// An `MTLCommandBufferError` once the status is `.error`.
  var error: (any Error)? { get }
  /// Takes the next place in the queue's order.
  func enqueue()
  func commit()
  func waitUntilScheduled()
  /// Returns when the buffer is executed and its completed handlers have run.
  func waitUntilCompleted()
  func addScheduledHandler(_ block: @escaping MTLCommandBufferHandler)
  func addCompletedHandler(_ block: @escaping MTLCommandBufferHandler)
  func makeComputeCommandEncoder() -> (any MTLComputeCommandEncoder)?
  func makeComputeCommandEncoder(dispatchType: MTLDispatchType) -> (any MTLComputeCommandEncoder)?
  func makeComputeCommandEncoder(descriptor: MTLComputePassDescriptor) -> (any MTLComputeCommandEncoder)?
  func makeBlitCommandEncoder() -> (any MTLBlitCommandEncoder)?
  func encodeWaitForEvent(_ event: any MTLEvent, value: UInt64)
  func encodeSignalEvent(_ event: any MTLEvent, value: UInt64)
  func pushDebugGroup(_ string: String)
  func popDebugGroup()
  func useResidencySet(_ residencySet: any MTLResidencySet)
  func useResidencySets(_ residencySets: [any MTLResidencySet])
  /// Returns when `waitUntilScheduled` would, without blocking a thread.
  func scheduled() async
  /// Returns when `waitUntilCompleted` would, without blocking a thread. Look at `error` then.
  func completed() async
}

open class MTLComputePassDescriptor {
  public var dispatchType = MTLDispatchType.serial
  public init() {}
}
