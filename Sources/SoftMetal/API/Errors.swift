// Metal's errors. On a Mac they are bridged NSErrors; `_domain` and `_code` make `error as NSError` agree here.

public let MTLLibraryErrorDomain = "MTLLibraryErrorDomain"
public let MTLCommandBufferErrorDomain = "MTLCommandBufferErrorDomain"
public let MTLCaptureErrorDomain = "MTLCaptureErrorDomain"

/// Why a library, a function or a pipeline could not be made.
public struct MTLLibraryError: Error, CustomStringConvertible, Sendable {
  public enum Code: UInt, Sendable {
    case unsupported = 1
    case `internal` = 2
    case compileFailure = 3
    case compileWarning = 4
    case functionNotFound = 5
    case fileNotFound = 6

    /// Lets `catch MTLLibraryError.compileFailure` match.
    public static func ~= (code: Code, error: any Error) -> Bool { (error as? MTLLibraryError)?.code == code }
  }

  public static var errorDomain: String { MTLLibraryErrorDomain }
  public static var unsupported: Code { .unsupported }
  public static var `internal`: Code { .internal }
  public static var compileFailure: Code { .compileFailure }
  public static var compileWarning: Code { .compileWarning }
  public static var functionNotFound: Code { .functionNotFound }
  public static var fileNotFound: Code { .fileNotFound }

  public let code: Code
  public let localizedDescription: String

  init(_ code: Code, _ text: String) {
    self.code = code
    localizedDescription = text
  }

  public var description: String { localizedDescription }
  public var _domain: String { Self.errorDomain }
  public var _code: Int { Int(code.rawValue) }
}

/// Why a command buffer was not executed to its end.
public struct MTLCommandBufferError: Error, CustomStringConvertible, Sendable {
  public enum Code: UInt, Sendable {
    case none = 0
    case `internal` = 1
    case timeout = 2
    case pageFault = 3
    case accessRevoked = 4
    case notPermitted = 7
    case outOfMemory = 8
    case invalidResource = 9
    case memoryless = 10
    case deviceRemoved = 11
    case stackOverflow = 12

    /// Lets `catch MTLCommandBufferError.invalidResource` match.
    public static func ~= (code: Code, error: any Error) -> Bool { (error as? MTLCommandBufferError)?.code == code }
  }

  public static var errorDomain: String { MTLCommandBufferErrorDomain }
  public static var none: Code { .none }
  public static var `internal`: Code { .internal }
  public static var timeout: Code { .timeout }
  public static var pageFault: Code { .pageFault }
  public static var accessRevoked: Code { .accessRevoked }
  public static var notPermitted: Code { .notPermitted }
  public static var outOfMemory: Code { .outOfMemory }
  public static var invalidResource: Code { .invalidResource }
  public static var memoryless: Code { .memoryless }
  public static var deviceRemoved: Code { .deviceRemoved }
  public static var stackOverflow: Code { .stackOverflow }

  public let code: Code
  public let localizedDescription: String
  /// Whether it is what checks (`SoftMetalOptions.checks`) found in a shader. SoftMetal's own.
  public let isShaderFinding: Bool

  init(_ code: Code, _ text: String, isFinding: Bool = false) {
    self.code = code
    isShaderFinding = isFinding
    localizedDescription = text
  }

  public var description: String { localizedDescription }
  public var _domain: String { Self.errorDomain }
  public var _code: Int { Int(code.rawValue) }
}

public enum MTLCaptureError: Int, Error, Sendable {
  case notSupported = 1
  case alreadyCapturing = 2
  case invalidDescriptor = 3
}
