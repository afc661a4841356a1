import CSoftMetal
import Synchronization

/// The device of a process, as `MTLCreateSystemDefaultDevice()` gives it; always the same one.
public func MTLCreateSystemDefaultDevice() -> (any MTLDevice)? { SoftMetalDevice.system }

public func MTLCopyAllDevices() -> [any MTLDevice] { [SoftMetalDevice.system] }

/// A Metal device that runs compute kernels on the CPU.
///
/// Devices share the process's threads and nothing else: each has its own native kernels.
public final class SoftMetalDevice: MTLDevice, @unchecked Sendable {
  static let system = SoftMetalDevice()
  private static let count = Atomic<UInt64>(0)

  public let registryID: UInt64
  private let allocated = Atomic<Int>(0)
  let natives: NativeKernelRegistry
  let providers: [any PipelineProvider]
  private let environment: Result<ShaderEnvironment, MTLLibraryError>
  private let guardedOptions: Guarded<Result<SoftMetalOptions, MTLLibraryError>>

  /// A device of the caller's own, which executes shaders as the environment says (`SoftMetalOptions`). A variable with a
  /// value that it cannot have is reported by everything that makes a library or a pipeline.
  public convenience init() {
    self.init(
      options: Result { () throws(MTLLibraryError) in try SoftMetalOptions.read(environmentValue) },
      environment: Result { () throws(MTLLibraryError) in try ShaderEnvironment.read(environmentValue) })
  }

  /// A device of the caller's own, which executes shaders as `options` say.
  public convenience init(options: SoftMetalOptions) {
    self.init(
      options: .success(options),
      environment: Result { () throws(MTLLibraryError) in try ShaderEnvironment.read(environmentValue) })
  }

  init(options: Result<SoftMetalOptions, MTLLibraryError>, environment: Result<ShaderEnvironment, MTLLibraryError>) {
    registryID = Self.count.add(1, ordering: .relaxed).newValue
    natives = NativeKernelRegistry()
    providers = [NativeProvider(), ShaderProvider()]
    self.environment = environment
    guardedOptions = Guarded(options)
  }

  /// How shaders are executed. A change counts for pipelines made from then on.
  public var options: SoftMetalOptions {
    get { (try? guardedOptions.current.get()) ?? SoftMetalOptions() }
    set { guardedOptions.current = .success(newValue) }
  }

  func validOptions() throws(MTLLibraryError) -> SoftMetalOptions { try guardedOptions.current.get() }

  func toolchain() throws(MTLLibraryError) -> ShaderToolchain { ShaderToolchain.of(try environment.get()) }

  /// Makes native kernels answer for the functions of libraries whose source is exactly `source`, whenever they were or
  /// will be made. Functions of any other source are never replaced, whatever their names.
  ///
  /// The rows are copied; a later row or call wins over an earlier one of the same name. A row that makes no sense is
  /// refused when a pipeline is made of it.
  public func registerNativeKernels(_ kernels: UnsafePointer<sm_native_kernel>, count: Int, source: String) {
    natives.add(UnsafeBufferPointer(start: kernels, count: max(count, 0)).compactMap(NativeKernel.init), source: source)
  }

  /// What runs a pipeline of this device: "native" or "shader". Nil for another device's pipeline.
  public func providerName(of pipeline: any MTLComputePipelineState) -> String? {
    guard let pipeline = pipeline as? SoftPipeline, pipeline.softDevice === self else { return nil }
    return pipeline.providerName
  }

  // MARK: Properties

  public var name: String { "SoftMetal" }
  public var architecture: MTLArchitecture { MTLArchitecture(name: "softmetal") }
  public var maxThreadsPerThreadgroup: MTLSize { MTLSizeMake(Limits.threads, Limits.threads, Limits.threads) }
  public var hasUnifiedMemory: Bool { true }
  public var isLowPower: Bool { false }
  public var isHeadless: Bool { true }
  public var isRemovable: Bool { false }
  public var recommendedMaxWorkingSetSize: UInt64 { sm_physical_bytes() / 4 * 3 }
  public var currentAllocatedSize: Int { allocated.load(ordering: .relaxed) }
  public var maxThreadgroupMemoryLength: Int { Limits.threadgroupBytes }
  public var maxBufferLength: Int { Limits.bufferBytes }
  public var argumentBuffersSupport: MTLArgumentBuffersTier { .tier1 }

  /// What the compute side of an M1 has.
  public func supportsFamily(_ gpuFamily: MTLGPUFamily) -> Bool {
    switch gpuFamily {
    case .apple1, .apple2, .apple3, .apple4, .apple5, .apple6, .apple7, .mac2, .common1, .common2, .common3, .metal3:
      true
    default: false
    }
  }

  func countAllocated(_ bytes: Int) { allocated.wrappingAdd(bytes, ordering: .relaxed) }

  // MARK: Buffers

  public func makeBuffer(length: Int, options: MTLResourceOptions) -> (any MTLBuffer)? {
    makeSoftBuffer(length: length, options: options)
  }

  public func makeBuffer(
    bytes pointer: UnsafeRawPointer, length: Int, options: MTLResourceOptions
  ) -> (any MTLBuffer)? {
    guard let buffer = makeSoftBuffer(length: length, options: options) else { return nil }
    buffer.contents().copyMemory(from: pointer, byteCount: length)
    return buffer
  }

  public func makeBuffer(
    bytesNoCopy pointer: UnsafeMutableRawPointer, length: Int, options: MTLResourceOptions,
    deallocator: (@Sendable (UnsafeMutableRawPointer, Int) -> Void)?
  ) -> (any MTLBuffer)? {
    let page = UInt(sm_page_bytes())
    guard length > 0, length <= maxBufferLength, UInt(length) % page == 0, UInt(bitPattern: pointer) % page == 0,
      options.storageMode == .shared || options.storageMode == .managed
    else { return nil }
    return SoftBuffer(device: self, foreign: pointer, length: length, options: options, deallocator: deallocator)
  }

  /// As `makeBuffer(bytesNoCopy:)`, for any memory: SoftMetal's own. Nil for no bytes or more than a buffer can have.
  public func makeBuffer(
    wrapping pointer: UnsafeMutableRawPointer, length: Int,
    deallocator: (@Sendable (UnsafeMutableRawPointer, Int) -> Void)? = nil
  ) -> (any MTLBuffer)? {
    guard length > 0, length <= maxBufferLength else { return nil }
    return SoftBuffer(
      device: self, foreign: pointer, length: length, options: .storageModeShared, deallocator: deallocator)
  }

  private func makeSoftBuffer(length: Int, options: MTLResourceOptions) -> SoftBuffer? {
    guard length > 0, length <= maxBufferLength, options.storageMode != .memoryless else { return nil }
    return SoftBuffer(device: self, length: length, options: options)
  }

  // MARK: Queues and synchronisation

  public func makeCommandQueue() -> (any MTLCommandQueue)? { makeCommandQueue(maxCommandBufferCount: 64) }

  public func makeCommandQueue(maxCommandBufferCount: Int) -> (any MTLCommandQueue)? {
    maxCommandBufferCount > 0 ? SoftQueue(device: self, limit: maxCommandBufferCount) : nil
  }

  public func makeCommandQueue(descriptor: MTLCommandQueueDescriptor) -> (any MTLCommandQueue)? {
    makeCommandQueue(maxCommandBufferCount: descriptor.maxCommandBufferCount)
  }

  public func makeEvent() -> (any MTLEvent)? { SoftEvent(device: self) }
  public func makeSharedEvent() -> (any MTLSharedEvent)? { SoftSharedEvent() }
  public func makeSharedEvent(handle: MTLSharedEventHandle) -> (any MTLSharedEvent)? { handle.event }
  public func makeFence() -> (any MTLFence)? { SoftFence(device: self) }

  public func makeResidencySet(descriptor desc: MTLResidencySetDescriptor) throws -> any MTLResidencySet {
    SoftResidencySet(device: self, label: desc.label, capacity: desc.initialCapacity)
  }
}

/// The limits of an Apple-silicon GPU, which is what clients of Metal are written for.
enum Limits {
  static let bufferSlots = Int(SM_BUFFER_SLOTS)
  static let threadgroupSlots = Int(SM_THREADGROUP_SLOTS)
  static let inlineBytes = 4096
  static let threads = 1024
  static let threadgroupBytes = 32768
  static let threadgroupUnit = 16
  static let executionWidth = 32
  static let blitUnit = 4
  static let residencySets = 32
  static let functionConstants = 65536
  /// Half of the memory, in whole pages.
  static let bufferBytes = Int(clamping: sm_physical_bytes() / 2 / sm_page_bytes() * sm_page_bytes())
}
