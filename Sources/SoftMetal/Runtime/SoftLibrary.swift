/// The compile options as they were when a library was made.
struct CompileSettings: Sendable {
  let preprocessorMacros: [String: String]
  let mathMode: MTLMathMode
  let mathFloatingPointFunctions: MTLMathFloatingPointFunctions
  let languageVersion: MTLLanguageVersion
  let libraryType: MTLLibraryType
  let preserveInvariance: Bool
  let optimizationLevel: MTLLibraryOptimizationLevel
  let maxTotalThreadsPerThreadgroup: Int
  let usesNativeKernels: Bool

  init(_ options: MTLCompileOptions?) {
    let options = options ?? MTLCompileOptions()
    preprocessorMacros = (options.preprocessorMacros ?? [:]).mapValues { String(describing: $0) }
    mathMode = options.mathMode
    mathFloatingPointFunctions = options.mathFloatingPointFunctions
    languageVersion = options.languageVersion
    libraryType = options.libraryType
    preserveInvariance = options.preserveInvariance
    optimizationLevel = options.optimizationLevel
    maxTotalThreadsPerThreadgroup = options.maxTotalThreadsPerThreadgroup
    usesNativeKernels = (options as? SoftMetalCompileOptions)?.usesNativeKernels ?? true
  }
}

/// A library made from source text.
final class SoftLibrary: MTLLibrary, @unchecked Sendable {
  let softDevice: SoftMetalDevice
  let source: String
  let settings: CompileSettings
  /// Nil unless native kernels were there for the source when the library was made: then the text is compiled only if
  /// somebody asks for a function that has none.
  private let scannedNames: [String]?
  private let compiled: Guarded<ShaderProgram?>
  private let guardedLabel = Guarded<String?>(nil)

  init(device: SoftMetalDevice, source: String, settings: CompileSettings) throws(MTLLibraryError) {
    guard settings.libraryType == .executable else {
      throw MTLLibraryError(.unsupported, "makeLibrary: libraryType: expected executable, got \(settings.libraryType)")
    }
    guard (0...Limits.threads).contains(settings.maxTotalThreadsPerThreadgroup) else {
      throw MTLLibraryError(
        .compileFailure,
        "makeLibrary: maxTotalThreadsPerThreadgroup: expected 0 to \(Limits.threads), "
          + "got \(settings.maxTotalThreadsPerThreadgroup)")
    }
    _ = try device.validOptions()
    softDevice = device
    self.source = source
    self.settings = settings
    if !settings.usesNativeKernels || device.natives.kernels(for: source).isEmpty {
      scannedNames = nil
      compiled = Guarded(try ShaderProgram(source, settings, try device.toolchain()))
    } else {
      scannedNames = try scanFunctionNames(source)
      compiled = Guarded(nil)
    }
  }

  /// By name, those that stand in for functions of this library.
  var natives: [String: NativeKernel] {
    settings.usesNativeKernels ? softDevice.natives.kernels(for: source) : [:]
  }

  /// The source, compiled by now.
  func program() throws(MTLLibraryError) -> ShaderProgram {
    try compiled.withLock { compiled throws(MTLLibraryError) in
      if let compiled { return compiled }
      let made = try ShaderProgram(source, settings, try softDevice.toolchain())
      compiled = made
      return made
    }
  }

  var device: any MTLDevice { softDevice }
  var type: MTLLibraryType { settings.libraryType }
  var installName: String? { nil }
  var label: String? {
    get { guardedLabel.current }
    set { guardedLabel.current = newValue }
  }

  /// Native kernels vouch for names that only a preprocessor would see.
  var functionNames: [String] {
    let names = compiled.current?.functionNames ?? scannedNames ?? []
    return names + natives.keys.filter { !names.contains($0) }.sorted()
  }

  func makeFunction(name functionName: String) -> (any MTLFunction)? {
    // Text that cannot be compiled has no functions, and this call has no way of saying why.
    guard let declared = try? constants(of: functionName) else { return nil }
    return SoftFunction(library: self, name: functionName, declared: declared, values: declared.isEmpty ? [] : nil)
  }

  func makeFunction(name: String, constantValues: MTLFunctionConstantValues) throws -> any MTLFunction {
    try specialise(name, constantValues.snapshot())
  }

  func makeFunction(name: String, constantValues: MTLFunctionConstantValues) async throws -> any MTLFunction {
    try specialise(name, constantValues.snapshot())
  }

  func makeFunction(
    name: String, constantValues: MTLFunctionConstantValues,
    completionHandler: @escaping @Sendable ((any MTLFunction)?, (any Error)?) -> Void
  ) {
    let values = constantValues.snapshot()
    deliver({ try self.specialise(name, values) }, to: completionHandler)
  }

  private func specialise(_ name: String, _ given: ConstantValues) throws -> any MTLFunction {
    guard let declared = try constants(of: name) else {
      let known = functionNames
      throw MTLLibraryError(
        .functionNotFound,
        "makeFunction: no function '\(name)' in the library; "
          + (known.isEmpty ? "it has none" : "it has \(known.joined(separator: ", "))"))
    }
    return SoftFunction(
      library: self, name: name, declared: declared, values: try given.resolve(declared, kernel: name))
  }

  /// The constants a function uses, by index; nil if there is no such function.
  private func constants(of name: String) throws(MTLLibraryError) -> [MTLFunctionConstant]? {
    if let native = natives[name] { return native.constants }
    return try program().constants(of: name)
  }
}

/// A kernel of a library, specialised or not.
final class SoftFunction: MTLFunction, @unchecked Sendable {
  let library: SoftLibrary
  let name: String
  /// By rising index; nil while values are still to be given.
  let constantValues: [ConstantValue]?
  let functionConstantsDictionary: [String: MTLFunctionConstant]
  private let guardedLabel = Guarded<String?>(nil)

  init(library: SoftLibrary, name: String, declared: [MTLFunctionConstant], values: [ConstantValue]?) {
    self.library = library
    self.name = name
    constantValues = values
    let open = values == nil ? declared : []
    functionConstantsDictionary = Dictionary(open.map { ($0.name, $0) }) { first, _ in first }
  }

  var device: any MTLDevice { library.softDevice }
  var functionType: MTLFunctionType { .kernel }
  var label: String? {
    get { guardedLabel.current }
    set { guardedLabel.current = newValue }
  }
}
