import CSoftMetal

/// A library whose source was read: what it declares, and how its kernels are made.
final class ShaderProgram: Sendable {
  private let module: ShaderModule
  private let toolchain: ShaderToolchain
  private let settings: CompileSettings

  /// - Throws: `MTLLibraryError.compileFailure` with the mistakes in the source.
  init(_ source: String, _ settings: CompileSettings, _ toolchain: ShaderToolchain) throws(MTLLibraryError) {
    self.toolchain = toolchain
    self.settings = settings
    let text = try toolchain.preprocess(source, settings)
    module = try Self.read { () throws(ShaderError) in
      try ShaderModule(preprocessed: text, languageVersion: settings.languageVersion)
    }
    try toolchain.check(try Self.read { () throws(ShaderError) in try module.translateForCheck() }, settings)
  }

  var functionNames: [String] { module.functions.map(\.name) }

  /// The constants that a function can reach, by rising index; nil if there is no such function.
  func constants(of function: String) -> [MTLFunctionConstant]? {
    guard module.functions.contains(where: { $0.name == function }) else { return nil }
    return module.constants(usedBy: function).map { constant, required in
      MTLFunctionConstant(name: constant.name, type: constant.type, index: constant.index, required: required)
    }
  }

  /// A function specialised and compiled, to be run as `options` say.
  func kernel(
    _ function: String, constants: [ConstantValue], options: SoftMetalOptions
  ) throws(MTLLibraryError) -> any ExecutableKernel {
    let flavour = ShaderFlavour(lockstep: options.mode == .lockstep, checked: options.checks)
    let translation = try Self.read { () throws(ShaderError) in
      try module.translate(function, constants: constants, flavour: flavour)
    }
    let shader = try toolchain.build(translation.text, flavour, settings)
    return ShaderKernel(shader, translation, options)
  }

  private static func read<Value>(_ body: () throws(ShaderError) -> Value) throws(MTLLibraryError) -> Value {
    do throws(ShaderError) {
      return try body()
    } catch {
      throw MTLLibraryError(.compileFailure, ShaderDiagnostics.text(error))
    }
  }
}

/// Runs functions from their source text.
struct ShaderProvider: PipelineProvider {
  let name = "shader"

  func makeKernel(for function: SoftFunction, constants: [ConstantValue]) -> ProviderAnswer {
    do throws(MTLLibraryError) {
      let library = function.library
      let options = try library.softDevice.validOptions()
      return .kernel(try library.program().kernel(function.name, constants: constants, options: options))
    } catch {
      return .failed(error)
    }
  }
}

/// A compiled kernel with the way in which it is to run.
private final class ShaderKernel: ExecutableKernel, @unchecked Sendable {
  let arguments: [KernelArgument]
  let threadgroupSlots: [Int]
  let maxThreads: Int
  let staticThreadgroupBytes: Int
  private let loaded: LoadedShader
  private let options: sm_shader_options
  private let workerLimit: Int

  init(_ loaded: LoadedShader, _ translation: ShaderTranslation, _ options: SoftMetalOptions) {
    self.loaded = loaded
    arguments = translation.arguments
    threadgroupSlots = translation.threadgroupSlots
    maxThreads = Int(sm_shader_max_threads(loaded.shader))
    staticThreadgroupBytes = Int(sm_shader_static_bytes(loaded.shader))
    self.options = sm_shader_options(
      order: UInt32(options.order.code), interleave: options.interleave ? 1 : 0, seed: options.seed,
      time_limit: max(options.timeLimit, 0), checked: options.checks ? 1 : 0, reserved: 0, history: nil,
      initialised: nil)
    workerLimit = max(options.workerLimit, 0)
  }

  var isChecked: Bool { options.checked != 0 }

  func run(_ dispatch: UnsafeMutablePointer<sm_dispatch>, _ checks: DispatchChecks) -> KernelFailure? {
    if workerLimit > 0, let executor = dispatch.pointee.executor, workerLimit < Int(executor.pointee.workers) {
      return LimitedExecutor.with(executor, workers: workerLimit) { limited in
        dispatch.pointee.executor = limited
        defer { dispatch.pointee.executor = executor }
        return start(dispatch, checks)
      }
    }
    return start(dispatch, checks)
  }

  private func start(_ dispatch: UnsafeMutablePointer<sm_dispatch>, _ checks: DispatchChecks) -> KernelFailure? {
    checks.written.withUnsafeBufferPointer { written in
      var options = options
      options.history = checks.history
      options.initialised = written.isEmpty ? nil : written.baseAddress
      var stats = sm_shader_stats()
      return sm_shader_run(loaded.shader, dispatch, &options, &stats).map { text in
        Self.failure(Int(stats.failure), String(cString: text))
      }
    }
  }

  /// Metal has codes of their own for some of the executor's reasons.
  private static func failure(_ kind: Int, _ text: String) -> KernelFailure {
    switch kind {
    case SM_FAILURE_TIME: KernelFailure(text, .timeout)
    case SM_FAILURE_MEMORY: KernelFailure(text, .pageFault)
    case SM_FAILURE_STACK: KernelFailure(text, .stackOverflow)
    case SM_FAILURE_FINDING: KernelFailure(text, isFinding: true)
    default: KernelFailure(text)
    }
  }
}

extension SoftMetalOptions.Order {
  fileprivate var code: Int {
    switch self {
    case .forward: SM_ORDER_FORWARD
    case .reverse: SM_ORDER_REVERSE
    case .random: SM_ORDER_RANDOM
    }
  }
}
