open class MTLCompileOptions {
  /// Values are strings or numbers; what they print is the macro's text.
  public var preprocessorMacros: [String: AnyObject]?
  /// Writing it also sets `mathMode` and `mathFloatingPointFunctions`.
  public var fastMathEnabled = true {
    didSet {
      mathMode = fastMathEnabled ? .fast : .safe
      mathFloatingPointFunctions = fastMathEnabled ? .fast : .precise
    }
  }
  public var mathMode = MTLMathMode.fast
  public var mathFloatingPointFunctions = MTLMathFloatingPointFunctions.fast
  public var languageVersion = MTLLanguageVersion.version3_2
  public var libraryType = MTLLibraryType.executable
  public var preserveInvariance = false
  public var optimizationLevel = MTLLibraryOptimizationLevel.default
  /// For every kernel of the source; 0 = the device's own limit.
  public var maxTotalThreadsPerThreadgroup = 0

  public init() {}
}

/// Options with something of SoftMetal's own.
open class SoftMetalCompileOptions: MTLCompileOptions {
  /// Whether native kernels that are registered for the source stand in for its functions.
  public var usesNativeKernels = true
}

public protocol MTLLibrary: AnyObject, Sendable {
  var label: String? { get set }
  var device: any MTLDevice { get }
  /// Host names; their order means nothing.
  var functionNames: [String] { get }
  var type: MTLLibraryType { get }
  var installName: String? { get }
  /// Nil if there is no such function. A function that has constants must be specialised to become a pipeline.
  func makeFunction(name functionName: String) -> (any MTLFunction)?
  /// Throws `MTLLibraryError.functionNotFound`, or `.compileFailure` for a required constant without a value and for a
  /// value of the wrong type. Values for constants that the function does not use are ignored.
  func makeFunction(name: String, constantValues: MTLFunctionConstantValues) throws -> any MTLFunction
  func makeFunction(name: String, constantValues: MTLFunctionConstantValues) async throws -> any MTLFunction
  func makeFunction(
    name: String, constantValues: MTLFunctionConstantValues,
    completionHandler: @escaping @Sendable ((any MTLFunction)?, (any Error)?) -> Void)
}

public protocol MTLFunction: AnyObject, Sendable {
  var label: String? { get set }
  var device: any MTLDevice { get }
  var functionType: MTLFunctionType { get }
  var name: String { get }
  /// The constants still to be given, by name; empty once specialised.
  var functionConstantsDictionary: [String: MTLFunctionConstant] { get }
}

public final class MTLFunctionConstant: Sendable {
  public let name: String
  public let type: MTLDataType
  public let index: Int
  public let required: Bool

  init(name: String, type: MTLDataType, index: Int, required: Bool) {
    self.name = name
    self.type = type
    self.index = index
    self.required = required
  }
}

open class MTLComputePipelineDescriptor {
  public var label: String?
  public var computeFunction: (any MTLFunction)?
  public var threadGroupSizeIsMultipleOfThreadExecutionWidth = false
  /// 0 = the kernel's own limit.
  public var maxTotalThreadsPerThreadgroup = 0
  public var supportIndirectCommandBuffers = false

  public init() {}

  public func reset() {
    label = nil
    computeFunction = nil
    threadGroupSizeIsMultipleOfThreadExecutionWidth = false
    maxTotalThreadsPerThreadgroup = 0
    supportIndirectCommandBuffers = false
  }
}

public protocol MTLComputePipelineState: MTLAllocation, Sendable {
  var label: String? { get }
  var device: any MTLDevice { get }
  var maxTotalThreadsPerThreadgroup: Int { get }
  var threadExecutionWidth: Int { get }
  /// Bytes of threadgroup memory that the kernel itself declares.
  var staticThreadgroupMemoryLength: Int { get }
  var supportIndirectCommandBuffers: Bool { get }
}

public protocol MTLBinding: AnyObject, Sendable {
  var name: String { get }
  var type: MTLBindingType { get }
  var access: MTLBindingAccess { get }
  var index: Int { get }
  var isUsed: Bool { get }
  var isArgument: Bool { get }
}

public final class MTLComputePipelineReflection: Sendable {
  public let bindings: [any MTLBinding]
  init(bindings: [any MTLBinding]) { self.bindings = bindings }
}
