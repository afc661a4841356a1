import CSoftMetal

/// A library of one source: what it declares, and how its kernels are made. The source is read only where the cache does
/// not know what was found in it before.
final class ShaderProgram: Sendable {
  private let source: String
  private let toolchain: ShaderToolchain
  private let settings: CompileSettings
  /// Stands for the source, and for everything that it depends on what becomes of it.
  private let key: String
  private let facts: LibraryFacts
  private let module: Guarded<ShaderModule?>

  /// - Throws: `MTLLibraryError.compileFailure` with the mistakes in the source.
  init(_ source: String, _ settings: CompileSettings, _ toolchain: ShaderToolchain) throws(MTLLibraryError) {
    self.source = source
    self.toolchain = toolchain
    self.settings = settings
    key = try toolchain.key(source, settings)
    let name = "facts-\(key)"
    if let known = toolchain.store.contents(name), let facts = LibraryFacts(known) {
      self.facts = facts
      module = Guarded(nil)
      return
    }
    let module = try Self.module(source, settings, toolchain)
    let text = try Self.read { () throws(ShaderError) in try module.translateForCheck() }
    let spaces = try Self.read { () throws(ShaderError) in try module.translateForProbe() }
    try toolchain.check(text, spaces: spaces, SpaceProbe { module.overloads($0) }, settings)
    facts = LibraryFacts(module)
    self.module = Guarded(module)
    toolchain.store.keep(facts.bytes, as: name)
  }

  var functionNames: [String] { facts.functions.map(\.name) }

  /// The constants that a function can reach, by rising index; nil if there is no such function.
  func constants(of function: String) -> [MTLFunctionConstant]? {
    facts.functions.first { $0.name == function }?.constants.map { constant in
      MTLFunctionConstant(
        name: constant.name, type: constant.type, index: constant.index, required: constant.required)
    }
  }

  /// A function specialised and compiled, to be run as `options` say.
  func kernel(
    _ function: String, constants: [ConstantValue], options: SoftMetalOptions
  ) throws(MTLLibraryError) -> any ExecutableKernel {
    let flavour = ShaderFlavour(lockstep: options.mode == .lockstep, checked: options.checks)
    let name = "facts-\(Self.key(key, function, constants, flavour))"
    if let known = toolchain.store.contents(name), let facts = KernelFacts(known),
      let shader = toolchain.known(facts.file)
    {
      return ShaderKernel(shader, facts, options)
    }
    let module = try module.withLock { module throws(MTLLibraryError) in
      if let module { return module }
      let made = try Self.module(source, settings, toolchain)
      module = made
      return made
    }
    let translation = try Self.read { () throws(ShaderError) in
      try module.translate(function, constants: constants, flavour: flavour)
    }
    let (shader, file) = try toolchain.build(translation.text, flavour, settings)
    let facts = KernelFacts(
      file: file, arguments: translation.arguments, threadgroupSlots: translation.threadgroupSlots)
    toolchain.store.keep(facts.bytes, as: name)
    return ShaderKernel(shader, facts, options)
  }

  private static func key(
    _ library: String, _ function: String, _ constants: [ConstantValue], _ flavour: ShaderFlavour
  ) -> String {
    var hash = SHA256()
    for word in [library, function, "\(flavour.lockstep)", "\(flavour.checked)"] { hash.add(word) }
    for constant in constants { hash.add("\(constant.index) \(constant.type.rawValue) \(constant.bytes)") }
    return hash.finish().hex
  }

  private static func module(
    _ source: String, _ settings: CompileSettings, _ toolchain: ShaderToolchain
  ) throws(MTLLibraryError) -> ShaderModule {
    let text = try toolchain.preprocess(source, settings)
    return try read { () throws(ShaderError) in
      try ShaderModule(preprocessed: text, languageVersion: settings.languageVersion)
    }
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

  init(_ loaded: LoadedShader, _ facts: KernelFacts, _ options: SoftMetalOptions) {
    self.loaded = loaded
    arguments = facts.arguments
    threadgroupSlots = facts.threadgroupSlots
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
