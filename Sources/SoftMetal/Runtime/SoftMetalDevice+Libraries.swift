// Libraries and pipelines. Each exists three times, as on a Mac: plain, async and with a completion handler.
extension SoftMetalDevice {
  public func makeDefaultLibrary() -> (any MTLLibrary)? { nil }

  public func makeLibrary(filepath: String) throws -> any MTLLibrary {
    throw MTLLibraryError(
      .unsupported, "makeLibrary(filepath:): \(filepath): compiled libraries are for GPUs; make it from source")
  }

  public func makeLibrary(source: String, options: MTLCompileOptions?) throws -> any MTLLibrary {
    try compile(source, CompileSettings(options))
  }

  public func makeLibrary(source: String, options: MTLCompileOptions?) async throws -> any MTLLibrary {
    try compile(source, CompileSettings(options))
  }

  public func makeLibrary(
    source: String, options: MTLCompileOptions?, completionHandler: @escaping MTLNewLibraryCompletionHandler
  ) {
    let settings = CompileSettings(options)
    deliver({ try self.compile(source, settings) }, to: completionHandler)
  }

  private func compile(_ source: String, _ settings: CompileSettings) throws -> any MTLLibrary {
    try SoftLibrary(device: self, source: source, settings: settings)
  }

  public func makeComputePipelineState(function computeFunction: any MTLFunction) throws -> any MTLComputePipelineState
  {
    try pipeline(PipelineSettings(computeFunction))
  }

  public func makeComputePipelineState(
    function computeFunction: any MTLFunction
  ) async throws -> any MTLComputePipelineState {
    try pipeline(PipelineSettings(computeFunction))
  }

  public func makeComputePipelineState(
    function computeFunction: any MTLFunction,
    completionHandler: @escaping MTLNewComputePipelineStateCompletionHandler
  ) {
    deliver({ try self.pipeline(PipelineSettings(computeFunction)) }, to: completionHandler)
  }

  public func makeComputePipelineState(
    descriptor: MTLComputePipelineDescriptor, options: MTLPipelineOption
  ) throws -> (any MTLComputePipelineState, MTLComputePipelineReflection?) {
    try reflectedPipeline(PipelineSettings(descriptor), options)
  }

  public func makeComputePipelineState(
    descriptor: MTLComputePipelineDescriptor, options: MTLPipelineOption
  ) async throws -> (any MTLComputePipelineState, MTLComputePipelineReflection?) {
    try reflectedPipeline(PipelineSettings(descriptor), options)
  }

  public func makeComputePipelineState(
    descriptor: MTLComputePipelineDescriptor, options: MTLPipelineOption,
    completionHandler: @escaping MTLNewComputePipelineStateWithReflectionCompletionHandler
  ) {
    let result = Result { try reflectedPipeline(try PipelineSettings(descriptor), options) }
    deliver({ try result.get() }) { made, error in completionHandler(made?.0, made?.1, error) }
  }

  private func pipeline(_ settings: PipelineSettings) throws(MTLLibraryError) -> any MTLComputePipelineState {
    try SoftPipeline(device: self, settings: settings)
  }

  private func reflectedPipeline(
    _ settings: PipelineSettings, _ options: MTLPipelineOption
  ) throws -> (any MTLComputePipelineState, MTLComputePipelineReflection?) {
    let pipeline = try SoftPipeline(device: self, settings: settings)
    return (pipeline, options.isDisjoint(with: [.bindingInfo, .bufferTypeInfo]) ? nil : pipeline.reflection)
  }
}

/// Hands what `make` makes, or its error, to a completion handler on another thread, or here if there is none.
func deliver<Made>(
  _ make: @escaping @Sendable () throws -> Made, to handler: @escaping @Sendable (Made?, (any Error)?) -> Void
) {
  let job: @Sendable () -> Void = {
    switch Result(catching: make) {
    case .success(let made): handler(made, nil)
    case .failure(let error): handler(nil, error)
    }
  }
  if !runAsync(job) { job() }
}
