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
  }
}

/// A library made from source text.
final class SoftLibrary: MTLLibrary, @unchecked Sendable {
  let softDevice: SoftMetalDevice
  let source: String
  let settings: CompileSettings
  private let scan: SourceScan
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
    softDevice = device
    self.source = source
    self.settings = settings
    scan = try scanSource(source)
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
    let native = softDevice.natives.kernels(for: source).keys
    return scan.functionNames + native.filter { !scan.functionNames.contains($0) }.sorted()
  }

  func makeFunction(name functionName: String) -> (any MTLFunction)? {
    guard let declared = constants(of: functionName) else { return nil }
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
    guard let declared = constants(of: name) else {
      let known = functionNames
      throw MTLLibraryError(
        .functionNotFound,
        "makeFunction: no function '\(name)' in the library; "
          + (known.isEmpty ? "it has none" : "it has \(known.joined(separator: ", "))"))
    }
    return SoftFunction(
      library: self, name: name, declared: declared, values: try given.resolve(declared, kernel: name))
  }

  /// The constants a function uses, by index; nil if there is no such function. A native kernel knows exactly; for
  /// other functions every constant of the source counts.
  private func constants(of name: String) -> [MTLFunctionConstant]? {
    if let native = softDevice.natives.kernels(for: source)[name] { return native.constants }
    return scan.functionNames.contains(name) ? scan.constants : nil
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
