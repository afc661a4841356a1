/// A compiled kernel, and which of its buffers it writes.
public struct Pipeline: Sendable {
  public let metal: any MTLComputePipelineState
  /// What the kernel takes, by kind and slot.
  public let arguments: [KernelArgument]
  /// Bit i is set if the kernel writes to the buffer at slot i.
  let writtenSlots: UInt32

  init(_ metal: any MTLComputePipelineState, _ reflection: MTLComputePipelineReflection?) {
    self.metal = metal
    arguments = KernelArgument.all(reflection)
    let written = arguments.filter { $0.kind == .buffer && $0.access != .read }
    writtenSlots = written.reduce(0) { slots, argument in slots | 1 << UInt32(truncatingIfNeeded: argument.slot) }
  }

  func writes(_ slot: Int) -> Bool { writtenSlots & 1 << UInt32(truncatingIfNeeded: slot) != 0 }
}

/// Compiled pipelines by kernel and function constants, made from named Metal sources.
///
/// A source is compiled once, whatever number of kernels and specialisations it yields. Safe to use from any thread.
public final class KernelRegistry: Sendable {
  private struct Source {
    let text: String
    /// Nil until first needed.
    var library: (any MTLLibrary)?
  }

  private struct State {
    var sources: [String: Source] = [:]
    /// Which source a kernel comes from, for the sources whose kernels are known.
    var home: [String: String] = [:]
    var pipelines: [PipelineKey: Pipeline] = [:]
  }

  private let metal: any MTLDevice
  private let provider: Provider
  private let state: Locked<State>
  #if !canImport(Metal)
    private let soft: SoftMetalDevice?
  #endif

  init(metal: any MTLDevice, provider: Provider) {
    self.metal = metal
    self.provider = provider
    var state = State()
    for room in KernelTable.shaders {
      for kernel in room.kernels { state.home[kernel] = room.name }
    }
    self.state = Locked(state)
    #if !canImport(Metal)
      soft = metal as? SoftMetalDevice
    #endif
  }

  /// Adds Metal source, or replaces the source of that name and drops every pipeline made from it.
  ///
  /// Quoted includes are resolved among the built-in headers. The source is compiled when one of its kernels is first
  /// asked for.
  public func register(source: String, named name: String) throws(FAError) {
    let operation = "registry_register"
    guard !name.isEmpty else { throw .invalid(operation, "name", expected: "a name", got: "\"\"") }
    let text = try ShaderSource.flatten(source, named: name)
    state.withLock { state in
      let gone = Set(state.home.filter { $0.value == name }.keys)
      let builtIn = KernelTable.shaders.first { $0.name == name }?.kernels ?? []
      for kernel in gone where !builtIn.contains(kernel) { state.home[kernel] = nil }
      state.pipelines = state.pipelines.filter { !gone.contains($0.key.kernel) }
      state.sources[name] = Source(text: text)
    }
  }

  /// The pipeline of `kernel` specialised with `constants`, from the cache where it is known.
  ///
  /// - Throws: `kernelNotFound`, or `compileFailed` with the compiler's text in `log`.
  public func pipeline(_ kernel: String, constants: [FunctionConstant] = []) throws(FAError) -> Pipeline {
    try pipeline(PipelineKey(kernel, constants))
  }

  func pipeline(_ key: PipelineKey) throws(FAError) -> Pipeline {
    let key = executed(key)
    return try state.withLock { state throws(FAError) in
      if let known = state.pipelines[key] { return known }
      let pipeline = try makePipeline(key, try library(having: key.kernel, &state))
      state.pipelines[key] = pipeline
      return pipeline
    }
  }

  /// Whether that pipeline is there already.
  public func isCached(_ kernel: String, constants: [FunctionConstant] = []) throws(FAError) -> Bool {
    let key = executed(try PipelineKey(kernel, constants))
    return state.withLock { $0.pipelines[key] != nil }
  }

  /// The key, as the device executes shaders now.
  private func executed(_ key: PipelineKey) -> PipelineKey {
    var key = key
    #if !canImport(Metal)
      key.execution = soft?.options
    #endif
    return key
  }

  public var cachedCount: Int { state.withLock { $0.pipelines.count } }

  /// The kernels of a source, without values for their constants. Compiles the source if nobody has yet.
  ///
  /// - Throws: `kernelNotFound` if there is no such source, or `compileFailed`.
  public func functions(ofSource name: String) throws(FAError) -> [any MTLFunction] {
    try state.withLock { state throws(FAError) in
      let library = try library(named: name, &state)
      return library.functionNames.sorted().compactMap { library.makeFunction(name: $0) }
    }
  }

  /// Names of the sources, built-in ones included.
  public var sourceNames: [String] {
    state.withLock { Set($0.sources.keys).union(KernelTable.shaders.map(\.name)).sorted() }
  }

  /// Whether `kernel` comes from a source of the library's own, and not from one registered in its place.
  func isBuiltIn(_ kernel: String) -> Bool {
    state.withLock { state in
      guard let home = state.home[kernel], KernelTable.shaders.contains(where: { $0.name == home }) else {
        return false
      }
      guard let source = state.sources[home] else { return true }
      return source.text == (try? ShaderSource.builtIn(home))
    }
  }

  private func library(having kernel: String, _ state: inout State) throws(FAError) -> any MTLLibrary {
    if let name = state.home[kernel] {
      return try library(named: name, &state)
    }
    // The kernel may be in a source that has not been compiled yet; a broken one is the likeliest reason for a miss.
    var failure: FAError?
    for name in state.sources.keys.sorted() where state.sources[name]?.library == nil {
      do throws(FAError) {
        let library = try self.library(named: name, &state)
        if library.functionNames.contains(kernel) { return library }
      } catch {
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
    throw FAError(.kernelNotFound, "pipeline", "kernel", "no registered source has a kernel called \(kernel)")
  }

  private func library(named name: String, _ state: inout State) throws(FAError) -> any MTLLibrary {
    if let library = state.sources[name]?.library { return library }
    let text = if let source = state.sources[name] { source.text } else { try ShaderSource.builtIn(name) }
    #if canImport(Metal)
      let options = MTLCompileOptions()
    #else
      let options = SoftMetalCompileOptions()
      options.usesNativeKernels = provider == .native
    #endif
    options.languageVersion = .version3_2
    options.mathMode = .relaxed  // as fast as fast, but infinities stay infinities: masks are made of them
    let library: any MTLLibrary
    do {
      library = try metal.makeLibrary(source: text, options: options)
    } catch {
      let log = describe(error)
      throw FAError(failureCode(error), "registry", name, log, log: log)
    }
    library.label = name
    state.sources[name] = Source(text: text, library: library)
    for kernel in library.functionNames { state.home[kernel] = name }
    return library
  }

  private func makePipeline(_ key: PipelineKey, _ library: any MTLLibrary) throws(FAError) -> Pipeline {
    guard library.functionNames.contains(key.kernel) else {
      throw FAError(
        .kernelNotFound, "pipeline", "kernel", "the source \(library.label ?? "") has no kernel called \(key.kernel)")
    }
    do {
      let function = try library.makeFunction(name: key.kernel, constantValues: key.values)
      let descriptor = MTLComputePipelineDescriptor()
      descriptor.label = "\(key)"
      descriptor.computeFunction = function
      let (pipeline, reflection) = try metal.makeComputePipelineState(descriptor: descriptor, options: .bindingInfo)
      return Pipeline(pipeline, reflection)
    } catch {
      let log = describe(error)
      throw FAError(failureCode(error), "pipeline", key.kernel, log, log: log)
    }
  }
}
