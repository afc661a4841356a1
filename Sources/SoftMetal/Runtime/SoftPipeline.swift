import CSoftMetal

/// One buffer argument of a kernel.
struct KernelArgument: Sendable, Equatable {
  let name: String
  let slot: Int
  let isWritten: Bool
  /// Least bytes of the bound range; 0 if any will do.
  let minBytes: UInt64
  /// The bool constant that must be true for the argument to exist.
  let guardConstant: Int?

  func exists(under values: [ConstantValue]) -> Bool {
    guard let guardConstant else { return true }
    return values.first { $0.index == guardConstant }?.isTrue ?? false
  }
}

/// A specialised kernel that can be executed. Called from one thread at a time for each queue.
protocol ExecutableKernel: AnyObject, Sendable {
  /// Those that exist under the function's constants.
  var arguments: [KernelArgument] { get }
  /// The slots of threadgroup memory whose length a dispatch must set.
  var threadgroupSlots: [Int] { get }
  var maxThreads: Int { get }
  var staticThreadgroupBytes: Int { get }
  /// Whether the kernel watches its accesses, and makes use of the checks it is run with.
  var isChecked: Bool { get }
  /// Bindings, grid and executor are filled in; nil on success, else why not.
  func run(_ dispatch: UnsafeMutablePointer<sm_dispatch>, _ checks: DispatchChecks) -> KernelFailure?
}

/// What checks have to know of a dispatch.
struct DispatchChecks {
  /// Of the dispatches that may overlap with this one; nil if there are none.
  var history: OpaquePointer?
  /// By slot: `CommandList.Binding.written`. Empty if all are nil.
  var written: [UnsafeMutablePointer<UInt8>?] = []
}

/// Why a kernel did not run to its end.
struct KernelFailure: Sendable {
  let code: MTLCommandBufferError.Code
  let text: String
  let isFinding: Bool

  init(_ text: String, _ code: MTLCommandBufferError.Code = .internal, isFinding: Bool = false) {
    self.isFinding = isFinding
    self.code = code
    self.text = text
  }
}

enum ProviderAnswer {
  case kernel(any ExecutableKernel)
  /// Another provider may take the function.
  case declined(String)
  /// The function is this provider's, and there is something wrong with it.
  case failed(MTLLibraryError)
}

/// One way of executing functions. A device asks its providers in order, and the first that can takes the function.
protocol PipelineProvider: Sendable {
  var name: String { get }
  func makeKernel(for function: SoftFunction, constants: [ConstantValue]) -> ProviderAnswer
}

/// What a pipeline is made of.
struct PipelineSettings: Sendable {
  var function: any MTLFunction
  var label: String?
  var maxTotalThreads = 0
  var wholeSIMDGroups = false
  var supportIndirectCommandBuffers = false

  init(_ function: any MTLFunction) { self.function = function }

  init(_ descriptor: MTLComputePipelineDescriptor) throws(MTLLibraryError) {
    guard let function = descriptor.computeFunction else {
      throw MTLLibraryError(.unsupported, "makeComputePipelineState: computeFunction: expected a function, got nil")
    }
    self.init(function)
    label = descriptor.label
    maxTotalThreads = descriptor.maxTotalThreadsPerThreadgroup
    wholeSIMDGroups = descriptor.threadGroupSizeIsMultipleOfThreadExecutionWidth
    supportIndirectCommandBuffers = descriptor.supportIndirectCommandBuffers
  }
}

final class SoftPipeline: MTLComputePipelineState, @unchecked Sendable {
  let softDevice: SoftMetalDevice
  let name: String
  let label: String?
  let providerName: String
  let kernel: any ExecutableKernel
  let arguments: [KernelArgument]
  let maxTotalThreadsPerThreadgroup: Int
  let staticThreadgroupMemoryLength: Int
  let wholeSIMDGroups: Bool
  let supportIndirectCommandBuffers: Bool

  init(device: SoftMetalDevice, settings: PipelineSettings) throws(MTLLibraryError) {
    let what = "makeComputePipelineState: kernel '\(settings.function.name)'"
    guard let function = settings.function as? SoftFunction, function.library.softDevice === device else {
      throw MTLLibraryError(.unsupported, "\(what): the function belongs to another device")
    }
    guard let constants = function.constantValues else {
      let open = function.functionConstantsDictionary.keys.sorted().joined(separator: ", ")
      throw MTLLibraryError(
        .unsupported,
        "makeComputePipelineState: function \(function.name) cannot be used to build a pipeline state: its function "
          + "constants (\(open)) have no values; use makeFunction(name:constantValues:)")
    }
    let (kernel, provider) = try Self.findKernel(device.providers, function, constants, what)

    let limits = [settings.maxTotalThreads, function.library.settings.maxTotalThreadsPerThreadgroup]
    guard (0...Limits.threads).contains(settings.maxTotalThreads) else {
      throw MTLLibraryError(
        .unsupported,
        "\(what): maxTotalThreadsPerThreadgroup: expected 0 to \(Limits.threads), got \(settings.maxTotalThreads)")
    }
    guard kernel.staticThreadgroupBytes <= Limits.threadgroupBytes else {
      throw MTLLibraryError(
        .unsupported,
        "\(what): Threadgroup memory size (\(kernel.staticThreadgroupBytes)) exceeds the maximum threadgroup memory "
          + "allowed (\(Limits.threadgroupBytes))")
    }
    softDevice = device
    name = function.name
    label = settings.label
    providerName = provider
    self.kernel = kernel
    arguments = kernel.arguments
    maxTotalThreadsPerThreadgroup = limits.filter { $0 > 0 }.reduce(min(kernel.maxThreads, Limits.threads), min)
    staticThreadgroupMemoryLength = kernel.staticThreadgroupBytes
    wholeSIMDGroups = settings.wholeSIMDGroups
    supportIndirectCommandBuffers = settings.supportIndirectCommandBuffers
  }

  private static func findKernel(
    _ providers: [any PipelineProvider], _ function: SoftFunction, _ constants: [ConstantValue], _ what: String
  ) throws(MTLLibraryError) -> (any ExecutableKernel, provider: String) {
    var reasons: [String] = []
    for provider in providers {
      switch provider.makeKernel(for: function, constants: constants) {
      case .kernel(let kernel): return (kernel, provider.name)
      case .declined(let reason): reasons.append("\(provider.name): \(reason)")
      case .failed(let error): throw error
      }
    }
    throw MTLLibraryError(.unsupported, "\(what): no provider can run it: \(reasons.joined(separator: "; "))")
  }

  var device: any MTLDevice { softDevice }
  var threadExecutionWidth: Int { Limits.executionWidth }
  /// Code is the client's; the pipeline itself takes next to nothing.
  var allocatedSize: Int { 0 }

  var reflection: MTLComputePipelineReflection {
    MTLComputePipelineReflection(
      bindings: arguments.map(SoftBinding.init) + kernel.threadgroupSlots.map(SoftBinding.init(threadgroupSlot:)))
  }
}

private final class SoftBinding: MTLBinding {
  let name: String
  let index: Int
  let type: MTLBindingType
  let access: MTLBindingAccess

  init(threadgroupSlot slot: Int) {
    name = ""
    index = slot
    type = .threadgroupMemory
    access = .readWrite
  }

  init(_ argument: KernelArgument) {
    type = .buffer
    name = argument.name
    index = argument.slot
    access = argument.isWritten ? .readWrite : .readOnly
  }

  var isUsed: Bool { true }
  var isArgument: Bool { true }
}
