/// How a SoftMetal device executes shaders. A pipeline keeps what its device had when it was made; native kernels take
/// no notice.
///
/// Each has an environment variable, which is what a device starts with.
public struct SoftMetalOptions: Hashable, Sendable {
  public enum Mode: String, CaseIterable, Sendable {
    /// The threads of a simdgroup meet before every store to threadgroup memory, as they do on hardware that runs them
    /// in step; most shaders rely on it.
    case lockstep
    /// Threads meet at barriers and simdgroup functions and nowhere else: all that the language promises.
    case strict
  }

  /// Which thread, simdgroup and threadgroup runs first where the shader leaves it open.
  public enum Order: String, CaseIterable, Sendable {
    case forward, reverse
    /// Drawn anew for each dispatch from `seed`.
    case random
  }

  /// `SOFTMETAL_MODE`
  public var mode = Mode.lockstep
  /// `SOFTMETAL_ORDER`
  public var order = Order.forward
  /// `SOFTMETAL_SEED`: of the random order, and of the order of concurrent dispatches in checks.
  public var seed: UInt64 = 0
  /// `SOFTMETAL_INTERLEAVE`: simdgroups take turns between barriers, too.
  public var interleave = false
  /// `SOFTMETAL_CHECK`: look for races, for accesses out of bounds or misaligned, and for reads of what nobody wrote;
  /// dispatches that a concurrent encoder leaves unordered run in some other order than they were encoded in. A finding
  /// is the command buffer's error. Slow.
  public var checks = false
  /// `SOFTMETAL_TIME_LIMIT`: seconds a dispatch may take; 0 for as long as it likes.
  public var timeLimit = 0.0
  /// `SOFTMETAL_WORKERS`: most threads of this machine that one dispatch may use; 0 for all there are.
  public var workerLimit = 0

  public init() {}

  /// What the environment says, or else the defaults.
  ///
  /// - Throws: `MTLLibraryError.unsupported` where a variable has a value it cannot have.
  public static func environment() throws -> SoftMetalOptions { try read(environmentValue) }

  static func read(_ value: (String) -> String?) throws(MTLLibraryError) -> SoftMetalOptions {
    var options = SoftMetalOptions()
    func take<Value>(
      _ name: String, _ path: WritableKeyPath<SoftMetalOptions, Value>, _ expected: String, _ parse: (String) -> Value?
    ) throws(MTLLibraryError) {
      guard let text = value(name) else { return }
      guard let parsed = parse(text) else {
        throw MTLLibraryError(.unsupported, "\(name): expected \(expected), got \"\(text)\"")
      }
      options[keyPath: path] = parsed
    }
    func flag(_ name: String, _ path: WritableKeyPath<SoftMetalOptions, Bool>) throws(MTLLibraryError) {
      try take(name, path, "0 or 1") { ["0": false, "1": true][$0] }
    }
    try take("SOFTMETAL_MODE", \.mode, "lockstep or strict", Mode.init)
    try take("SOFTMETAL_ORDER", \.order, "forward, reverse or random", Order.init)
    try take("SOFTMETAL_SEED", \.seed, "a number from 0 to \(UInt64.max)") { UInt64($0) }
    try flag("SOFTMETAL_INTERLEAVE", \.interleave)
    try flag("SOFTMETAL_CHECK", \.checks)
    try take("SOFTMETAL_TIME_LIMIT", \.timeLimit, "seconds") { text in
      Double(text).flatMap { $0 >= 0 && $0.isFinite ? $0 : nil }
    }
    try take("SOFTMETAL_WORKERS", \.workerLimit, "a number from 0 up") { text in
      Int(text).flatMap { $0 >= 0 ? $0 : nil }
    }
    return options
  }
}
