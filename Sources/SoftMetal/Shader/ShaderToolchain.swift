import CSoftMetal

/// Finds the compiler, runs it, and keeps what it makes, on disk and in memory. Safe to use from any thread.
final class ShaderToolchain: Sendable {
  private static let shared = Guarded<[ShaderEnvironment: ShaderToolchain]>([:])

  /// Devices of equal environment share one, and with it the kernels that are loaded.
  static func of(_ environment: ShaderEnvironment) -> ShaderToolchain {
    shared.withLock { shared in
      if let known = shared[environment] { return known }
      let made = ShaderToolchain(environment)
      shared[environment] = made
      return made
    }
  }

  let store: ShaderStore
  private let environment: ShaderEnvironment
  private let found = Guarded<Compiler?>(nil)
  let loaded = LoadedShaders()

  private init(_ environment: ShaderEnvironment) {
    self.environment = environment
    store = ShaderStore(environment)
  }

  // MARK: The compiler

  /// - Throws: `MTLLibraryError.unsupported` if there is none.
  func compiler() throws(MTLLibraryError) -> Compiler {
    try found.withLock { found throws(MTLLibraryError) in
      if let found { return found }
      let compiler = try find()
      found = compiler
      return compiler
    }
  }

  private func find() throws(MTLLibraryError) -> Compiler {
    var reasons: [String] = []
    for command in Compiler.candidates(environment) {
      switch try verified(command) {
      case .success(let compiler): return compiler
      case .failure(let reason): reasons.append("\(command.joined(separator: " ")): \(reason.text)")
      }
    }
    if environment.compiler != nil {
      throw MTLLibraryError(
        .unsupported, "SOFTMETAL_CXX: expected \(Compiler.wanted), got \(reasons.joined(separator: "; "))")
    }
    let tried = reasons.isEmpty ? "" : "; tried \(reasons.joined(separator: "; "))"
    throw MTLLibraryError(
      .unsupported, "there is no compiler for shaders on this machine: \(Compiler.choices)\(tried)")
  }

  private struct Reason: Error { let text: String }

  /// Whether a program can compile kernels, from the cache where that was found out before.
  private func verified(_ command: [String]) throws(MTLLibraryError) -> Result<Compiler, Reason> {
    let flags = DeviceLibrary.flags(ShaderFlavour(lockstep: false, checked: false))
    var hash = SHA256()
    for part in ["compiler"] + Compiler.fingerprint(command) + flags { hash.add(part) }
    let name = "compiler-\(hash.finish().hex)"
    if let version = store.contents(name) {
      return .success(Compiler(command: command, version: String(decoding: version, as: UTF8.self)))
    }
    let candidate = Compiler(command: command, version: "")
    return try onDisk { directory throws(SystemError) in
      try ShaderStore.inWorkDirectory(of: directory) { work throws(SystemError) -> Result<Compiler, Reason> in
        try Files.store(Array(Compiler.probe.utf8), at: "\(work)/probe.cpp")
        let arguments = flags + ["-w", "-x", "c++", "\(work)/probe.cpp", "-o", "\(work)/probe.so"]
        let process: ChildProcess
        do throws(SystemError) {
          process = try run(candidate, arguments)
        } catch {
          return .failure(Reason(text: "\(error)"))
        }
        guard process.end == .exited(0) || process.end == .unknown, let object = try? Files.load("\(work)/probe.so"),
          let version = Compiler.version(inObject: object)
        else { return .failure(Reason(text: Self.summary(process))) }
        store.keep(Array(version.utf8), as: name)
        return .success(Compiler(command: command, version: version))
      }
    }
  }

  // MARK: Running it

  func run(_ compiler: Compiler, _ arguments: [String]) throws(SystemError) -> ChildProcess {
    let process = try ChildProcess.run(
      compiler.command(arguments), environment: environment.forCompiler, seconds: environment.seconds)
    return try judged(process)
  }

  /// Does `run` while another command goes on beside it, of which no more is asked than what it printed.
  func run(
    _ compiler: Compiler, _ arguments: [String], beside command: [String]
  ) throws(SystemError) -> (ChildProcess, printed: String) {
    let other = try ChildProcess.start(command, environment: environment.forCompiler, seconds: environment.seconds)
    let process = Result { () throws(SystemError) in try run(compiler, arguments) }
    let printed = other.finish().text
    return (try process.get(), printed)
  }

  private func judged(_ process: ChildProcess) throws(SystemError) -> ChildProcess {
    // Not the shader's fault, and elsewhere there may be room.
    for (code, text) in SystemError.outOfRoom where process.end != .exited(0) && process.text.contains(text) {
      throw SystemError("compile", code: code)
    }
    return process
  }

  /// Does something in the directory of the store.
  func onDisk<Value>(_ body: (String) throws(SystemError) -> Value) throws(MTLLibraryError) -> Value {
    do throws(SystemError) {
      return try store.attempt(body)
    } catch {
      throw MTLLibraryError(.internal, "compiling a shader: \(error)")
    }
  }

  /// Nil if the compiler did what it should, else what it objects to.
  func failure(_ process: ChildProcess, _ place: DeviceLibrary.Place) -> MTLLibraryError? {
    switch process.end {
    case .exited(0):
      return ShaderDiagnostics.errors(process.text, isLibrary: place.isInternal).map {
        MTLLibraryError(.compileFailure, $0)
      }
    case .timedOut:
      return MTLLibraryError(
        .internal, "compiling a shader: the compiler was stopped after \(environment.seconds) seconds")
    case .killed(let signal):
      return MTLLibraryError(.internal, "compiling a shader: the compiler was killed by signal \(signal)")
    case .exited, .unknown:
      if let text = ShaderDiagnostics.errors(process.text, isLibrary: place.isInternal) {
        return MTLLibraryError(.compileFailure, text)
      }
      if process.end == .unknown { return nil }
      return MTLLibraryError(.internal, "compiling a shader: the compiler failed: \(Self.summary(process))")
    }
  }

  /// What matters of a failure in one line.
  private static func summary(_ process: ChildProcess) -> String {
    let lines = process.text.split(separator: "\n")
    let line = lines.first { $0.contains("error: ") } ?? lines.first ?? ""
    if let error = line.firstRange(of: "error: ") { return String(line[error.upperBound...]) }
    switch process.end {
    case .timedOut: return "it did not end in time"
    case .killed(let signal): return "it was killed by signal \(signal)"
    case .exited(let code): return line.isEmpty ? "it ended with status \(code)" : String(line)
    case .unknown: return "nobody knows how it ended"
    }
  }
}
