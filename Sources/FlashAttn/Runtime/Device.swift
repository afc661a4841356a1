#if !canImport(Metal)
  import CFlashAttnCPU
#endif

/// A Metal device with one command queue: where buffers live and kernels run.
///
/// Safe to use from any thread.
public final class Device: @unchecked Sendable {
  /// The Metal device underneath.
  public let metal: any MTLDevice
  /// The queue every encoder of this device submits to.
  public let queue: any MTLCommandQueue
  /// Its provider is the device's.
  public let tuning: Tuning
  /// What runs the kernels.
  public let provider: Provider
  /// The registry used where none is named; it holds every built-in kernel.
  public let registry: KernelRegistry
  let allocator: Allocator
  /// Memory for tensors that have to be copied in and out.
  let staging: BufferPool
  let plans = PlanMemos()

  /// The system's default device.
  ///
  /// - Throws: `deviceNotFound` where there is none, `invalidArgument` where an environment variable is malformed.
  public convenience init(tuning: Tuning? = nil) throws(FAError) {
    let tuning = if let tuning { tuning } else { try Tuning.environment.get() }
    #if canImport(Metal)
      guard let metal = MTLCreateSystemDefaultDevice() else {
        throw FAError(.deviceNotFound, "device", "", "this machine has no Metal device")
      }
    #else
      let metal = SoftMetalDevice()
    #endif
    try self.init(metal: metal, tuning: tuning)
  }

  /// A device the caller already has.
  public init(metal: any MTLDevice, tuning: Tuning) throws(FAError) {
    guard let queue = metal.makeCommandQueue() else {
      throw FAError(.commandFailed, "device", "", "the device gave no command queue")
    }
    self.metal = metal
    self.queue = queue
    #if canImport(Metal)
      provider = .metal
    #else
      provider = tuning.provider
      if provider == .native, let soft = metal as? SoftMetalDevice { NativeKernels.register(with: soft) }
    #endif
    var tuning = tuning
    tuning.provider = provider
    self.tuning = tuning
    allocator = Allocator(
      metal: metal, residency: tuning.residencySets ? Residency(device: metal, queue: queue) : nil)
    staging = BufferPool(allocator)
    registry = KernelRegistry(metal: metal, provider: provider)
  }

  public var name: String { metal.name }

  /// "Metal" or "SoftMetal".
  public static var backend: String {
    #if canImport(Metal)
      "Metal"
    #else
      "SoftMetal"
    #endif
  }

  /// The instruction set native kernels use, "" where there are none.
  public static var instructionSet: String {
    #if canImport(Metal)
      ""
    #else
      String(cString: fa_cpu_isa())
    #endif
  }

  /// Whether memory of any alignment can be wrapped: true where the device's memory is the host's own.
  static var wrapsAnyAlignment: Bool {
    #if canImport(Metal)
      false
    #else
      true
    #endif
  }

  /// What runs a kernel of this device's registry: shaders, where there is no native kernel for its source.
  func provider(of kernel: String) -> Provider {
    #if canImport(Metal)
      .metal
    #else
      provider == .native && NativeKernels.names.contains(kernel) && registry.isBuiltIn(kernel) ? .native : .shader
    #endif
  }

  /// Whether buffers are kept resident by a residency set.
  public var keepsResident: Bool { allocator.residency != nil }

  /// A registry of its own, holding every built-in kernel.
  public func makeRegistry() -> KernelRegistry { KernelRegistry(metal: metal, provider: provider) }
}

#if !canImport(Metal)
  /// The native kernels, handed to each SoftMetal device beside the shader source they stand in for.
  enum NativeKernels {
    private struct Room: @unchecked Sendable {
      let source: String
      let kernels: UnsafePointer<sm_native_kernel>
      let count: Int
    }

    /// Made once and kept for the life of the process, as the kernels are.
    private static let rooms: [Room] = {
      var count: UInt32 = 0
      let table = UnsafeBufferPointer(start: fa_cpu_kernels(&count), count: Int(count))
      return KernelTable.shaders.compactMap { room in
        let names = Set(room.kernels)
        let mine = table.filter { names.contains(String(cString: $0.name)) }
        guard !mine.isEmpty, let source = try? ShaderSource.builtIn(room.name) else { return nil }
        let kernels = UnsafeMutableBufferPointer<sm_native_kernel>.allocate(capacity: mine.count)
        _ = kernels.initialize(from: mine)
        return kernels.baseAddress.map { Room(source: source, kernels: $0, count: mine.count) }
      }
    }()

    /// Host names of the kernels there is native code for.
    static let names = Set(
      rooms.flatMap { room in
        UnsafeBufferPointer(start: room.kernels, count: room.count).map { String(cString: $0.name) }
      })

    static func register(with device: SoftMetalDevice) {
      for room in rooms {
        device.registerNativeKernels(room.kernels, count: room.count, source: room.source)
      }
    }
  }
#endif
