#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// What compiling shaders takes from the process's environment.
struct ShaderEnvironment: Hashable, Sendable {
  /// The compiler to use, a path or a name on `path`; nil to look for one.
  var compiler: String?
  /// Directories of programs, in order.
  var path: [String] = []
  /// The root of an active Python environment.
  var pythonEnvironment: String?
  /// Where compiled kernels are kept; nil if there is no such place.
  var cache: String?
  var cacheBytes = 512 << 20
  var temporary = "/tmp"
  /// `NAME=VALUE` for the compiler. Only what programs need to work: much else would change what a compiler does.
  var forCompiler: [String] = []
  /// The longest that one run of the compiler may take.
  var seconds = 300.0

  private static let passedOn = [
    "PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "XDG_CACHE_HOME", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR",
  ]

  /// - Throws: `MTLLibraryError.unsupported` where a variable has a value it cannot have.
  static func read(_ value: (String) -> String?) throws(MTLLibraryError) -> ShaderEnvironment {
    var environment = ShaderEnvironment()
    environment.compiler = value("SOFTMETAL_CXX")
    // Relative directories would make the compiler depend on where the program happens to stand.
    environment.path = (value("PATH") ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
    environment.pythonEnvironment = value("VIRTUAL_ENV")
    environment.temporary = value("TMPDIR") ?? "/tmp"
    if let cache = value("SOFTMETAL_CACHE") {
      guard cache.hasPrefix("/") else {
        throw MTLLibraryError(.unsupported, "SOFTMETAL_CACHE: expected an absolute path, got \"\(cache)\"")
      }
      environment.cache = cache
    } else if let caches = value("XDG_CACHE_HOME"), caches.hasPrefix("/") {
      environment.cache = "\(caches)/softmetal"
    } else if let home = value("HOME"), home.hasPrefix("/") {
      environment.cache = "\(home)/.cache/softmetal"
    }
    if let text = value("SOFTMETAL_CACHE_MB") {
      guard let megabytes = Int(text), (1...1 << 20).contains(megabytes) else {
        throw MTLLibraryError(.unsupported, "SOFTMETAL_CACHE_MB: expected a number from 1 to 1048576, got \"\(text)\"")
      }
      environment.cacheBytes = megabytes << 20
    }
    environment.forCompiler = passedOn.compactMap { name in value(name).map { "\(name)=\($0)" } } + ["LC_ALL=C"]
    return environment
  }
}

/// An environment variable's value, nil when unset or empty.
func environmentValue(_ name: String) -> String? {
  guard let text = getenv(name), text.pointee != 0 else { return nil }
  return String(cString: text)
}
