/// A clang that can compile kernels.
struct Compiler: Hashable, Sendable {
  /// The program, and words that go before every argument.
  let command: [String]
  let version: String
  /// Tells it from every other compiler there was or will be under this name.
  let identity: String

  init(command: [String], version: String) {
    self.command = command
    self.version = version
    identity = (Self.fingerprint(command) + [version]).joined(separator: "\n")
  }

  /// Whether it is clang under zig's hand, which takes most of clang's arguments.
  var isZig: Bool { command.count > 1 }

  /// The whole command for arguments that suit clang. Zig spells processors its own way, and takes the one at hand if
  /// none is named, which would make kernels that other machines with the same cache cannot run.
  func command(_ arguments: [String]) -> [String] {
    guard isZig else { return command + arguments }
    let processor = "-march="
    let named = arguments.map { argument in
      guard argument.hasPrefix(processor) else { return argument }
      return processor + String(argument.dropFirst(processor.count).map { $0 == "-" ? "_" : $0 })
    }
    return command + named + (named == arguments ? ["-mcpu=baseline"] : [])
  }

  /// What the file system knows of a compiler. Changes when it is replaced.
  static func fingerprint(_ command: [String]) -> [String] {
    let path = command.first ?? ""
    let real = Files.resolved(path) ?? path
    let facts = Files.facts(real)
    return command + [real, "\(facts?.bytes ?? 0)", "\(facts?.modified ?? 0)"]
  }

  // MARK: Looking for one

  static let wanted = "clang++ 16 or newer"

  static let choices =
    "set SOFTMETAL_CXX to a \(wanted), put one or a Swift toolchain on PATH, or install the Python package ziglang"

  /// Programs that may be a compiler, best first.
  static func candidates(_ environment: ShaderEnvironment) -> [[String]] {
    if let chosen = environment.compiler {
      let path = chosen.contains("/") ? chosen : program(chosen, environment) ?? chosen
      return [command(path)]
    }
    var found: [[String]] = []
    // The toolchain that Swift programs are made with has the compiler beside the driver.
    for driver in ["swift", "swiftc"] {
      guard let path = program(driver, environment), let real = Files.resolved(path) else { continue }
      found += ["clang++", "clang"].map { ["\(directory(of: real))/\($0)"] }
    }
    found += ["clang++", "clang"].compactMap { program($0, environment).map { [$0] } }
    found += pythonZigs(environment).map(command)
    var seen: Set<[String]> = []
    return found.filter { Files.isExecutable($0[0]) && seen.insert($0).inserted }
  }

  /// Zig is a clang when told so.
  private static func command(_ path: String) -> [String] {
    path.split(separator: "/").last == "zig" ? [path, "c++"] : [path]
  }

  private static func program(_ name: String, _ environment: ShaderEnvironment) -> String? {
    environment.path.lazy.map { "\($0)/\(name)" }.first(where: Files.isExecutable)
  }

  private static func directory(of path: String) -> String {
    path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
  }

  /// The executable in the package `ziglang` of the Pythons at hand, found where pip puts it.
  private static func pythonZigs(_ environment: ShaderEnvironment) -> [String] {
    var roots = [environment.pythonEnvironment].compactMap { $0 }
    if let python = program("python3", environment) {
      roots += [python, Files.resolved(python) ?? python].map { directory(of: directory(of: $0)) }
    }
    return roots.flatMap { root in
      Files.list("\(root)/lib").filter { $0.hasPrefix("python3") }.sorted().flatMap { version in
        ["site-packages", "dist-packages"].map { "\(root)/lib/\(version)/\($0)/ziglang/zig" }
      }
    }
  }

  // MARK: Trying one

  private static let marker = "softmetal compiler: "

  /// Compiles only with what kernels need, and holds the compiler's version.
  static let probe = """
    static_assert(__clang_major__ >= 16, "\(wanted) is needed");
    typedef _Float16 half4 __attribute__((ext_vector_type(4)));
    #define EXPORT extern "C" __attribute__((visibility("default"), used))
    EXPORT half4 softmetal_probe(half4 a, __bf16 b) { return a * (_Float16)(float)b; }
    EXPORT const char softmetal_compiler[] = "\(marker)" __VERSION__;

    """

  /// The version that an object made of `probe` carries.
  static func version(inObject bytes: [UInt8]) -> String? {
    let pattern = Array(marker.utf8)
    guard let start = bytes.firstRange(of: pattern)?.upperBound else { return nil }
    return String(decoding: bytes[start...].prefix { $0 != 0 }.prefix(200), as: UTF8.self)
  }
}
