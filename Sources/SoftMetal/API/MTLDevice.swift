public typealias MTLNewLibraryCompletionHandler = @Sendable ((any MTLLibrary)?, (any Error)?) -> Void
public typealias MTLNewComputePipelineStateCompletionHandler =
  @Sendable ((any MTLComputePipelineState)?, (any Error)?) -> Void
public typealias MTLNewComputePipelineStateWithReflectionCompletionHandler =
  @Sendable ((any MTLComputePipelineState)?, MTLComputePipelineReflection?, (any Error)?) -> Void

/// A processor that runs compute shaders. May be used from any thread.
public protocol MTLDevice: AnyObject, Sendable {
  var name: String { get }
  var registryID: UInt64 { get }
  var architecture: MTLArchitecture { get }
  var maxThreadsPerThreadgroup: MTLSize { get }
  var hasUnifiedMemory: Bool { get }
  var isLowPower: Bool { get }
  var isHeadless: Bool { get }
  var isRemovable: Bool { get }
  /// Bytes.
  var recommendedMaxWorkingSetSize: UInt64 { get }
  /// Bytes of the living buffers that the device allocated.
  var currentAllocatedSize: Int { get }
  /// Bytes.
  var maxThreadgroupMemoryLength: Int { get }
  /// Bytes.
  var maxBufferLength: Int { get }
  var argumentBuffersSupport: MTLArgumentBuffersTier { get }
  func supportsFamily(_ gpuFamily: MTLGPUFamily) -> Bool

  /// Zeroed memory. Nil if `length` is not in 1...maxBufferLength, if memory is short, or for memoryless storage.
  func makeBuffer(length: Int, options: MTLResourceOptions) -> (any MTLBuffer)?
  /// A copy of `length` bytes. Nil as for `makeBuffer(length:options:)`.
  func makeBuffer(bytes pointer: UnsafeRawPointer, length: Int, options: MTLResourceOptions) -> (any MTLBuffer)?
  /// The caller's own memory, which must outlive the buffer; `deallocator` is called once, when the buffer dies.
  /// Nil unless address and length are multiples of the page size, or for private or memoryless storage.
  func makeBuffer(
    bytesNoCopy pointer: UnsafeMutableRawPointer, length: Int, options: MTLResourceOptions,
    deallocator: (@Sendable (UnsafeMutableRawPointer, Int) -> Void)?
  ) -> (any MTLBuffer)?

  /// The main bundle's library; nil, as there are no bundles here.
  func makeDefaultLibrary() -> (any MTLLibrary)?
  /// Throws `MTLLibraryError.unsupported`: compiled libraries are for GPUs.
  func makeLibrary(filepath: String) throws -> any MTLLibrary
  /// Throws `MTLLibraryError.compileFailure`; its text begins `program_source:LINE:COLUMN: error:`.
  func makeLibrary(source: String, options: MTLCompileOptions?) throws -> any MTLLibrary
  func makeLibrary(source: String, options: MTLCompileOptions?) async throws -> any MTLLibrary
  func makeLibrary(
    source: String, options: MTLCompileOptions?, completionHandler: @escaping MTLNewLibraryCompletionHandler)

  /// Throws an `MTLLibraryError` that says which kernel and what is missing.
  func makeComputePipelineState(function computeFunction: any MTLFunction) throws -> any MTLComputePipelineState
  func makeComputePipelineState(function computeFunction: any MTLFunction) async throws -> any MTLComputePipelineState
  func makeComputePipelineState(
    function computeFunction: any MTLFunction,
    completionHandler: @escaping MTLNewComputePipelineStateCompletionHandler)
  func makeComputePipelineState(
    descriptor: MTLComputePipelineDescriptor, options: MTLPipelineOption
  ) throws -> (any MTLComputePipelineState, MTLComputePipelineReflection?)
  func makeComputePipelineState(
    descriptor: MTLComputePipelineDescriptor, options: MTLPipelineOption
  ) async throws -> (any MTLComputePipelineState, MTLComputePipelineReflection?)
  func makeComputePipelineState(
    descriptor: MTLComputePipelineDescriptor, options: MTLPipelineOption,
    completionHandler: @escaping MTLNewComputePipelineStateWithReflectionCompletionHandler)

  /// A queue for up to 64 uncompleted command buffers.
  func makeCommandQueue() -> (any MTLCommandQueue)?
  /// Nil unless the count is positive.
  func makeCommandQueue(maxCommandBufferCount: Int) -> (any MTLCommandQueue)?
  func makeCommandQueue(descriptor: MTLCommandQueueDescriptor) -> (any MTLCommandQueue)?
  func makeEvent() -> (any MTLEvent)?
  func makeSharedEvent() -> (any MTLSharedEvent)?
  func makeSharedEvent(handle: MTLSharedEventHandle) -> (any MTLSharedEvent)?
  func makeFence() -> (any MTLFence)?
  func makeResidencySet(descriptor desc: MTLResidencySetDescriptor) throws -> any MTLResidencySet
}

// On a Mac these are default arguments, which a protocol in Swift cannot have.
extension MTLDevice {
  public func makeBuffer(length: Int) -> (any MTLBuffer)? { makeBuffer(length: length, options: []) }

  public func makeBuffer(bytes pointer: UnsafeRawPointer, length: Int) -> (any MTLBuffer)? {
    makeBuffer(bytes: pointer, length: length, options: [])
  }

  public func makeBuffer(bytesNoCopy pointer: UnsafeMutableRawPointer, length: Int) -> (any MTLBuffer)? {
    makeBuffer(bytesNoCopy: pointer, length: length, options: [], deallocator: nil)
  }

  public func makeBuffer(
    bytesNoCopy pointer: UnsafeMutableRawPointer, length: Int, options: MTLResourceOptions
  ) -> (any MTLBuffer)? {
    makeBuffer(bytesNoCopy: pointer, length: length, options: options, deallocator: nil)
  }

  public func makeBuffer(
    bytesNoCopy pointer: UnsafeMutableRawPointer, length: Int,
    deallocator: (@Sendable (UnsafeMutableRawPointer, Int) -> Void)?
  ) -> (any MTLBuffer)? {
    makeBuffer(bytesNoCopy: pointer, length: length, options: [], deallocator: deallocator)
  }
}

public final class MTLArchitecture: Sendable {
  public let name: String
  init(name: String) { self.name = name }
}

open class MTLCommandQueueDescriptor {
  public var maxCommandBufferCount = 64
  public init() {}
}
