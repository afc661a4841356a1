// A strict, bodiless stand-in for Apple's Metal module: declarations only, as metal_api.md states them, nothing more lenient.
// Purpose: type-check on Linux the branch of our sources that imports the real Metal (see README.md beside this file).
// It is never linked or run.

public protocol NSObjectProtocol: AnyObject {}
open class NSObject: NSObjectProtocol { public init() {} }
public typealias CFTimeInterval = Double

// MARK: plain types
public struct MTLSize {
  public var width, height, depth: Int; public init() { fatalError() };
  public init(width: Int, height: Int, depth: Int) { fatalError() }
}
public struct MTLOrigin {
  public var x, y, z: Int; public init() { fatalError() }; public init(x: Int, y: Int, z: Int) { fatalError() }
}
public func MTLSizeMake(_ width: Int, _ height: Int, _ depth: Int) -> MTLSize { fatalError() }
public struct MTLSizeAndAlign { public var size, align: Int }

public struct MTLResourceOptions: OptionSet, Sendable {
  public let rawValue: UInt; public init(rawValue: UInt) { self.rawValue = rawValue }
  public static let cpuCacheModeWriteCombined = Self(rawValue: 0x1), storageModeShared = Self(rawValue: 0),
    storageModeManaged = Self(rawValue: 0x10)
  public static let storageModePrivate = Self(rawValue: 0x20), storageModeMemoryless = Self(rawValue: 0x30)
  public static let hazardTrackingModeUntracked = Self(rawValue: 0x100),
    hazardTrackingModeTracked = Self(rawValue: 0x200)
}
public struct MTLBarrierScope: OptionSet, Sendable {
  public let rawValue: UInt; public init(rawValue: UInt) { self.rawValue = rawValue }
  public static let buffers = Self(rawValue: 1), textures = Self(rawValue: 2), renderTargets = Self(rawValue: 4)
}
public struct MTLResourceUsage: OptionSet, Sendable {
  public let rawValue: UInt; public init(rawValue: UInt) { self.rawValue = rawValue }
  public static let read = Self(rawValue: 1), write = Self(rawValue: 2), sample = Self(rawValue: 4)
}
public struct MTLPipelineOption: OptionSet, Sendable {
  public let rawValue: UInt; public init(rawValue: UInt) { self.rawValue = rawValue }
  public static let bindingInfo = Self(rawValue: 1), bufferTypeInfo = Self(rawValue: 2),
    failOnBinaryArchiveMiss = Self(rawValue: 4)
}
// On a Mac these enums are open: a switch over one needs `@unknown default` (an error without it in Swift 6 mode), which no Linux compiler can tell.
public enum MTLStorageMode: UInt, Sendable { case shared = 0, managed, `private`, memoryless }
public enum MTLCPUCacheMode: UInt, Sendable { case defaultCache = 0, writeCombined = 1 }
public enum MTLHazardTrackingMode: UInt, Sendable { case `default` = 0, untracked = 1, tracked = 2 }
public enum MTLPurgeableState: UInt, Sendable { case keepCurrent = 1, nonVolatile, volatile, empty }
public enum MTLDispatchType: UInt, Sendable { case serial = 0, concurrent = 1 }
public enum MTLCommandBufferStatus: UInt, Sendable {
  case notEnqueued = 0, enqueued, committed, scheduled, completed, error
}
public enum MTLFunctionType: UInt, Sendable {
  case vertex = 1, fragment = 2, kernel = 3, visible = 5, intersection = 6, mesh = 7, object = 8
}
public enum MTLLibraryType: Int, Sendable { case executable = 0, dynamic = 1 }
public enum MTLLibraryOptimizationLevel: Int, Sendable { case `default` = 0, size = 1 }
public enum MTLMathMode: Int, Sendable { case safe = 0, relaxed, fast }
public enum MTLMathFloatingPointFunctions: Int, Sendable { case fast = 0, precise = 1 }
public enum MTLLanguageVersion: UInt, Sendable {
  case version1_1 = 0x10001, version1_2 = 0x10002, version2_0 = 0x20000, version2_1 = 0x20001, version2_2 = 0x20002,
    version2_3 = 0x20003, version2_4 = 0x20004
  case version3_0 = 0x30000, version3_1 = 0x30001, version3_2 = 0x30002, version4_0 = 0x40000
}
public enum MTLGPUFamily: Int, Sendable {
  case apple1 = 1001, apple2, apple3, apple4, apple5, apple6, apple7, apple8, apple9, apple10
  case mac2 = 2002, common1 = 3001, common2, common3, metal3 = 5001, metal4 = 5002
}
public enum MTLDataType: UInt, Sendable {
  case none = 0, `struct` = 1, array = 2, float = 3, float2, float3, float4, half = 16, half2, half3, half4, int = 29,
    int2, int3, int4, uint = 33, uint2, uint3, uint4
  case short = 37, short2, short3, short4, ushort = 41, ushort2, ushort3, ushort4, char = 45, char2, char3, char4,
    uchar = 49, uchar2, uchar3, uchar4
  case bool = 53, bool2, bool3, bool4, pointer = 60, long = 81, long2, long3, long4, ulong = 85, ulong2, ulong3, ulong4,
    bfloat = 121, bfloat2, bfloat3, bfloat4
}

// MARK: errors (bridged NSError structs on a Mac)
public let MTLLibraryErrorDomain = "MTLLibraryErrorDomain", MTLCommandBufferErrorDomain = "MTLCommandBufferErrorDomain"
public struct MTLLibraryError: Error {
  public enum Code: UInt, Sendable {
    case unsupported = 1, `internal`, compileFailure, compileWarning, functionNotFound, fileNotFound
  }
  public var code: Code { fatalError() }
  public static var errorDomain: String { fatalError() }
}
public struct MTLCommandBufferError: Error {
  public enum Code: UInt, Sendable {
    case none = 0, `internal`, timeout, pageFault, accessRevoked, notPermitted = 7, outOfMemory, invalidResource,
      memoryless, deviceRemoved, stackOverflow
  }
  public var code: Code { fatalError() }
  public static var errorDomain: String { fatalError() }
}

// MARK: devices
public func MTLCreateSystemDefaultDevice() -> (any MTLDevice)? { fatalError() }
public func MTLCopyAllDevices() -> [any MTLDevice] { fatalError() }
public typealias MTLNewLibraryCompletionHandler = @Sendable ((any MTLLibrary)?, (any Error)?) -> Void
public typealias MTLNewComputePipelineStateCompletionHandler =
  @Sendable ((any MTLComputePipelineState)?, (any Error)?) -> Void

public protocol MTLDevice: NSObjectProtocol, Sendable {
  var name: String { get }
  var registryID: UInt64 { get }
  var maxThreadsPerThreadgroup: MTLSize { get }
  var hasUnifiedMemory: Bool { get }
  var isLowPower: Bool { get }
  var isHeadless: Bool { get }
  var isRemovable: Bool { get }
  var recommendedMaxWorkingSetSize: UInt64 { get }
  var currentAllocatedSize: Int { get }
  var maxThreadgroupMemoryLength: Int { get }
  var maxBufferLength: Int { get }
  func supportsFamily(_ gpuFamily: MTLGPUFamily) -> Bool
  func makeBuffer(length: Int, options: MTLResourceOptions) -> (any MTLBuffer)?
  func makeBuffer(bytes pointer: UnsafeRawPointer, length: Int, options: MTLResourceOptions) -> (any MTLBuffer)?
  func makeBuffer(
    bytesNoCopy pointer: UnsafeMutableRawPointer, length: Int, options: MTLResourceOptions,
    deallocator: (@Sendable (UnsafeMutableRawPointer, Int) -> Void)?
  ) -> (any MTLBuffer)?
  func makeDefaultLibrary() -> (any MTLLibrary)?
  func makeLibrary(filepath: String) throws -> any MTLLibrary
  func makeLibrary(source: String, options: MTLCompileOptions?) throws -> any MTLLibrary
  func makeLibrary(source: String, options: MTLCompileOptions?) async throws -> any MTLLibrary
  func makeLibrary(
    source: String, options: MTLCompileOptions?, completionHandler: @escaping MTLNewLibraryCompletionHandler)
  func makeComputePipelineState(function computeFunction: any MTLFunction) throws -> any MTLComputePipelineState
  func makeComputePipelineState(function computeFunction: any MTLFunction) async throws -> any MTLComputePipelineState
  func makeComputePipelineState(
    function computeFunction: any MTLFunction, completionHandler: @escaping MTLNewComputePipelineStateCompletionHandler)
  func makeCommandQueue() -> (any MTLCommandQueue)?
  func makeCommandQueue(maxCommandBufferCount: Int) -> (any MTLCommandQueue)?
  func makeEvent() -> (any MTLEvent)?
  func makeSharedEvent() -> (any MTLSharedEvent)?
  func makeFence() -> (any MTLFence)?
  func makeResidencySet(descriptor desc: MTLResidencySetDescriptor) throws -> any MTLResidencySet
}
extension MTLDevice {  // imported default arguments
  public func makeBuffer(length: Int) -> (any MTLBuffer)? { fatalError() }
  public func makeBuffer(bytes pointer: UnsafeRawPointer, length: Int) -> (any MTLBuffer)? { fatalError() }
  public func makeBuffer(bytesNoCopy pointer: UnsafeMutableRawPointer, length: Int) -> (any MTLBuffer)? { fatalError() }
  public func makeBuffer(bytesNoCopy pointer: UnsafeMutableRawPointer, length: Int, options: MTLResourceOptions) -> (
    any MTLBuffer
  )? { fatalError() }
  public func makeComputePipelineState(descriptor: MTLComputePipelineDescriptor, options: MTLPipelineOption) throws -> (
    any MTLComputePipelineState, MTLComputePipelineReflection?
  ) { fatalError() }
  public func makeComputePipelineState(descriptor: MTLComputePipelineDescriptor, options: MTLPipelineOption)
    async throws -> (any MTLComputePipelineState, MTLComputePipelineReflection?)
  { fatalError() }
}
open class MTLResidencySetDescriptor: NSObject { public var label: String?; public var initialCapacity = 0 }
public protocol MTLAllocation: NSObjectProtocol { var allocatedSize: Int { get } }
public protocol MTLResidencySet: NSObjectProtocol {
  var device: any MTLDevice { get }
  var label: String? { get }
  var allocatedSize: UInt64 { get }
  var allocationCount: Int { get }
  func requestResidency()
  func endResidency()
  func addAllocation(_ allocation: any MTLAllocation)
  func removeAllocation(_ allocation: any MTLAllocation)
  func removeAllAllocations()
  func commit()
}

// MARK: resources (not Sendable)
public protocol MTLResource: MTLAllocation {
  var label: String? { get set }
  var device: any MTLDevice { get }
  var cpuCacheMode: MTLCPUCacheMode { get }
  var storageMode: MTLStorageMode { get }
  var hazardTrackingMode: MTLHazardTrackingMode { get }
  var resourceOptions: MTLResourceOptions { get }
  @discardableResult func setPurgeableState(_ state: MTLPurgeableState) -> MTLPurgeableState
}
public protocol MTLBuffer: MTLResource {
  var length: Int { get }
  func contents() -> UnsafeMutableRawPointer
  func removeAllDebugMarkers()
  var gpuAddress: UInt64 { get }
}
extension MTLBuffer {
  public func didModifyRange(_ range: Range<Int>) { fatalError() }
  public func addDebugMarker(_ marker: String, range: Range<Int>) { fatalError() }
}

// MARK: libraries, functions, pipelines
open class MTLCompileOptions: NSObject {
  public var preprocessorMacros: [String: NSObject]?
  public var fastMathEnabled = true
  public var mathMode = MTLMathMode.fast
  public var mathFloatingPointFunctions = MTLMathFloatingPointFunctions.fast
  public var languageVersion = MTLLanguageVersion.version3_2
  public var libraryType = MTLLibraryType.executable
  public var preserveInvariance = false
  public var optimizationLevel = MTLLibraryOptimizationLevel.default
  public var maxTotalThreadsPerThreadgroup = 0
}
public protocol MTLLibrary: NSObjectProtocol, Sendable {
  var label: String? { get set }
  var device: any MTLDevice { get }
  var functionNames: [String] { get }
  var type: MTLLibraryType { get }
  func makeFunction(name functionName: String) -> (any MTLFunction)?
  func makeFunction(name: String, constantValues: MTLFunctionConstantValues) throws -> any MTLFunction
  func makeFunction(name: String, constantValues: MTLFunctionConstantValues) async throws -> any MTLFunction
}
public protocol MTLFunction: NSObjectProtocol, Sendable {
  var label: String? { get set }
  var device: any MTLDevice { get }
  var functionType: MTLFunctionType { get }
  var name: String { get }
  var functionConstantsDictionary: [String: MTLFunctionConstant] { get }
}
open class MTLFunctionConstant: NSObject, @unchecked Sendable {
  public var name: String { fatalError() }
  public var type: MTLDataType { fatalError() }
  public var index: Int { fatalError() }
  public var required: Bool { fatalError() }
}
open class MTLFunctionConstantValues: NSObject {
  public override init() { fatalError() }
  public func setConstantValue(_ value: UnsafeRawPointer, type: MTLDataType, index: Int) { fatalError() }
  public func setConstantValue(_ value: UnsafeRawPointer, type: MTLDataType, withName name: String) { fatalError() }
  public func setConstantValues(_ values: UnsafeRawPointer, type: MTLDataType, range: Range<Int>) { fatalError() }
  public func reset() { fatalError() }
}
public enum MTLBindingType: Int, Sendable { case buffer = 0, threadgroupMemory = 1, texture = 2, sampler = 3 }
public enum MTLBindingAccess: UInt, Sendable { case readOnly = 0, readWrite = 1, writeOnly = 2 }
public protocol MTLBinding: NSObjectProtocol, Sendable {
  var name: String { get }
  var type: MTLBindingType { get }
  var access: MTLBindingAccess { get }
  var index: Int { get }
  var isUsed: Bool { get }
  var isArgument: Bool { get }
}
open class MTLComputePipelineReflection: NSObject, @unchecked Sendable {
  public var bindings: [any MTLBinding] { fatalError() }
}
open class MTLComputePipelineDescriptor: NSObject {
  public var label: String?
  public var computeFunction: (any MTLFunction)?
  public var threadGroupSizeIsMultipleOfThreadExecutionWidth = false
  public var maxTotalThreadsPerThreadgroup = 0
  public var supportIndirectCommandBuffers = false
  public func reset() { fatalError() }
}
public protocol MTLComputePipelineState: MTLAllocation, NSObjectProtocol, Sendable {
  var label: String? { get }
  var device: any MTLDevice { get }
  var maxTotalThreadsPerThreadgroup: Int { get }
  var threadExecutionWidth: Int { get }
  var staticThreadgroupMemoryLength: Int { get }
}

// MARK: queues, command buffers, events
public protocol MTLCommandQueue: NSObjectProtocol, Sendable {
  var label: String? { get set }
  var device: any MTLDevice { get }
  func makeCommandBuffer() -> (any MTLCommandBuffer)?
  func makeCommandBufferWithUnretainedReferences() -> (any MTLCommandBuffer)?
  func makeCommandBuffer(descriptor: MTLCommandBufferDescriptor) -> (any MTLCommandBuffer)?
  func addResidencySet(_ residencySet: any MTLResidencySet)
  func removeResidencySet(_ residencySet: any MTLResidencySet)
}
public struct MTLCommandBufferErrorOption: OptionSet, Sendable {
  public let rawValue: UInt; public init(rawValue: UInt) { self.rawValue = rawValue };
  public static let encoderExecutionStatus = Self(rawValue: 1)
}
open class MTLCommandBufferDescriptor: NSObject {
  public var retainedReferences = true; public var errorOptions: MTLCommandBufferErrorOption = []
}
public typealias MTLCommandBufferHandler = @Sendable (any MTLCommandBuffer) -> Void
public protocol MTLCommandBuffer: NSObjectProtocol {
  var device: any MTLDevice { get }
  var commandQueue: any MTLCommandQueue { get }
  var retainedReferences: Bool { get }
  var label: String? { get set }
  var kernelStartTime: CFTimeInterval { get }
  var kernelEndTime: CFTimeInterval { get }
  var gpuStartTime: CFTimeInterval { get }
  var gpuEndTime: CFTimeInterval { get }
  var status: MTLCommandBufferStatus { get }
  var error: (any Error)? { get }
  func enqueue()
  func commit()
  func waitUntilScheduled()
  func waitUntilCompleted()
  func addScheduledHandler(_ block: @escaping MTLCommandBufferHandler)
  func addCompletedHandler(_ block: @escaping MTLCommandBufferHandler)
  func makeComputeCommandEncoder() -> (any MTLComputeCommandEncoder)?
  func makeComputeCommandEncoder(dispatchType: MTLDispatchType) -> (any MTLComputeCommandEncoder)?
  func makeBlitCommandEncoder() -> (any MTLBlitCommandEncoder)?
  func encodeWaitForEvent(_ event: any MTLEvent, value: UInt64)
  func encodeSignalEvent(_ event: any MTLEvent, value: UInt64)
  func pushDebugGroup(_ string: String)
  func popDebugGroup()
  func useResidencySet(_ residencySet: any MTLResidencySet)
}
extension MTLCommandBuffer {
  public func completed() async { fatalError() }
  public func scheduled() async { fatalError() }
}
public protocol MTLEvent: NSObjectProtocol, Sendable {
  var device: (any MTLDevice)? { get }; var label: String? { get set }
}
public protocol MTLSharedEvent: MTLEvent {
  var signaledValue: UInt64 { get set }
  @discardableResult func wait(untilSignaledValue value: UInt64, timeoutMS milliseconds: UInt64) -> Bool
}
public protocol MTLFence: NSObjectProtocol, Sendable {
  var device: any MTLDevice { get }; var label: String? { get set }
}

// MARK: encoders (not Sendable)
public protocol MTLCommandEncoder: NSObjectProtocol {
  var device: any MTLDevice { get }
  var label: String? { get set }
  func endEncoding()
  func insertDebugSignpost(_ string: String)
  func pushDebugGroup(_ string: String)
  func popDebugGroup()
}
public protocol MTLComputeCommandEncoder: MTLCommandEncoder {
  var dispatchType: MTLDispatchType { get }
  func setComputePipelineState(_ state: any MTLComputePipelineState)
  func setBuffer(_ buffer: (any MTLBuffer)?, offset: Int, index: Int)
  func setBufferOffset(_ offset: Int, index: Int)
  func setBytes(_ bytes: UnsafeRawPointer, length: Int, index: Int)
  func setThreadgroupMemoryLength(_ length: Int, index: Int)
  func dispatchThreadgroups(_ threadgroupsPerGrid: MTLSize, threadsPerThreadgroup: MTLSize)
  func dispatchThreads(_ threadsPerGrid: MTLSize, threadsPerThreadgroup: MTLSize)
  func dispatchThreadgroups(indirectBuffer: any MTLBuffer, indirectBufferOffset: Int, threadsPerThreadgroup: MTLSize)
  func memoryBarrier(scope: MTLBarrierScope)
  func useResource(_ resource: any MTLResource, usage: MTLResourceUsage)
  func updateFence(_ fence: any MTLFence)
  func waitForFence(_ fence: any MTLFence)
}
extension MTLComputeCommandEncoder {
  public func setBuffers(_ buffers: [(any MTLBuffer)?], offsets: [Int], range: Range<Int>) { fatalError() }
  public func useResources(_ resources: [any MTLResource], usage: MTLResourceUsage) { fatalError() }
  public func memoryBarrier(resources: [any MTLResource]) { fatalError() }
}
public protocol MTLBlitCommandEncoder: MTLCommandEncoder {
  func copy(
    from sourceBuffer: any MTLBuffer, sourceOffset: Int, to destinationBuffer: any MTLBuffer, destinationOffset: Int,
    size: Int)
  func synchronize(resource: any MTLResource)
}
extension MTLBlitCommandEncoder {
  public func fill(buffer: any MTLBuffer, range: Range<Int>, value: UInt8) { fatalError() }
}

// MARK: capture
public enum MTLCaptureDestination: Int, Sendable { case developerTools = 1, gpuTraceDocument = 2 }
open class MTLCaptureDescriptor: NSObject {
  public var captureObject: Any?; public var destination = MTLCaptureDestination.developerTools
}
open class MTLCaptureManager: NSObject {
  public class func shared() -> MTLCaptureManager { fatalError() }
  public func supportsDestination(_ destination: MTLCaptureDestination) -> Bool { fatalError() }
  public func startCapture(with descriptor: MTLCaptureDescriptor) throws { fatalError() }
  public func stopCapture() { fatalError() }
  public var isCapturing: Bool { fatalError() }
}
