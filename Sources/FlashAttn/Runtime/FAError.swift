/// Why an operation was refused or failed.
///
/// The text has one form everywhere: `operation: argument: expected …, got …`.
public struct FAError: Error, Sendable, CustomStringConvertible {
  public enum Code: UInt32, Sendable {
    case invalidArgument = 1
    case unsupported = 2
    case deviceNotFound = 3
    case allocationFailed = 4
    case kernelNotFound = 5
    case compileFailed = 6
    case commandFailed = 7
    case shaderCheck = 8
    case io = 9
    case `internal` = 10
  }

  public let code: Code
  /// The call that failed, such as `flash_attn_prefill`.
  public let operation: String
  /// The argument at fault, or "".
  public let argument: String
  /// What was wrong with it.
  public let message: String
  /// A compiler's own output, or "".
  public let log: String

  public init(_ code: Code, _ operation: String, _ argument: String = "", _ message: String, log: String = "") {
    self.code = code
    self.operation = operation
    self.argument = argument
    self.message = message
    self.log = log
  }

  public var description: String {
    argument.isEmpty ? "\(operation): \(message)" : "\(operation): \(argument): \(message)"
  }

  /// Whether the same call may succeed when tried again.
  public var isTransient: Bool { code == .commandFailed }

  static func invalid(_ operation: String, _ argument: String, expected: String, got: String) -> FAError {
    FAError(.invalidArgument, operation, argument, "expected \(expected), got \(got)")
  }

  static func unsupported(_ operation: String, _ argument: String, expected: String, got: String) -> FAError {
    FAError(.unsupported, operation, argument, "expected \(expected), got \(got)")
  }
}
