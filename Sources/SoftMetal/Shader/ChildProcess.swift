import CSoftMetal

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// A program run to its end, without a shell: what it was told is what it gets.
struct ChildProcess {
  enum End: Equatable {
    case exited(Int32)
    case killed(signal: Int32)
    case timedOut
    /// It ended, but somebody else in this process collected its status, or nobody may (SIGCHLD is ignored).
    case unknown
  }

  let end: End
  /// What it printed, to either stream, up to `capturedBytes`.
  let text: String

  static let capturedBytes = 1 << 20

  /// Runs `arguments[0]`, a path, with nothing to read. The child has a process group of its own, so that its own
  /// children die with it when `seconds` are over; signals are as a fresh program has them, whatever the caller's thread
  /// blocks or ignores.
  static func run(
    _ arguments: [String], environment: [String], seconds: Double
  ) throws(SystemError) -> ChildProcess {
    try start(arguments, environment: environment, seconds: seconds).finish()
  }

  /// A program that runs beside its caller, who has to call `finish`.
  struct Running {
    fileprivate let pid: pid_t
    fileprivate let output: Int32
    fileprivate let deadline: Double

    /// Waits for the end. What it printed beyond a pipe's worth before, it prints only now.
    func finish() -> ChildProcess {
      defer { close(output) }
      var captured: [UInt8] = []
      var inTime = ChildProcess.capture(output, until: deadline, into: &captured)
      var end: End?
      // Its output is closed; it will end any moment, but nothing says it must.
      var pause: UInt32 = 100
      while inTime {
        end = ChildProcess.collect(pid, wait: false)
        if end != nil { break }
        inTime = sm_now() < deadline
        usleep(pause)
        pause = min(pause * 2, 10_000)
      }
      if end == nil {
        // The group may be gone while the child is not yet collected, or the other way round.
        kill(-pid, SIGKILL)
        kill(pid, SIGKILL)
        _ = ChildProcess.collect(pid, wait: true)
        end = .timedOut
      }
      return ChildProcess(end: end ?? .unknown, text: String(decoding: captured, as: UTF8.self))
    }
  }

  /// As `run`, without waiting.
  static func start(
    _ arguments: [String], environment: [String], seconds: Double
  ) throws(SystemError) -> Running {
    let pipe = try makePipe()
    do throws(SystemError) {
      let pid = try spawn(arguments, environment, output: pipe.write)
      close(pipe.write)
      return Running(pid: pid, output: pipe.read, deadline: sm_now() + seconds)
    } catch {
      close(pipe.read)
      close(pipe.write)
      throw error
    }
  }

  /// Two ends that children inherit only where they are told to, and that are none of the standard streams, whatever
  /// the caller has closed.
  private static func makePipe() throws(SystemError) -> (read: Int32, write: Int32) {
    var ends: [Int32] = [-1, -1]
    #if os(Linux)
      // A pair of sockets serves as well, and is closed on exec from its first moment.
      let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
      guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw SystemError("socketpair") }
    #else
      guard pipe(&ends) == 0 else { throw SystemError("pipe") }
    #endif
    let lifted = ends.map { fcntl($0, F_DUPFD_CLOEXEC, 3) }
    let reason = errno
    for end in ends { close(end) }
    guard lifted.allSatisfy({ $0 >= 0 }) else {
      for end in lifted where end >= 0 { close(end) }
      throw SystemError("pipe", code: reason)
    }
    return (lifted[0], lifted[1])
  }

  private static func spawn(
    _ arguments: [String], _ environment: [String], output: Int32
  ) throws(SystemError) -> pid_t {
    #if canImport(Darwin)
      var actions: posix_spawn_file_actions_t?
      var attributes: posix_spawnattr_t?
    #else
      var actions = posix_spawn_file_actions_t()
      var attributes = posix_spawnattr_t()
    #endif
    guard let path = arguments.first, posix_spawn_file_actions_init(&actions) == 0 else {
      throw SystemError("posix_spawn", code: EINVAL)
    }
    defer { posix_spawn_file_actions_destroy(&actions) }
    guard posix_spawnattr_init(&attributes) == 0 else { throw SystemError("posix_spawn", code: ENOMEM) }
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, output, 2)
    for file in inherited() { posix_spawn_file_actions_addclose(&actions, file) }

    var none = sigset_t()
    var defaults = sigset_t()
    sigemptyset(&none)
    sigemptyset(&defaults)
    for signal in [SIGPIPE, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGXFSZ] {
      sigaddset(&defaults, signal)
    }
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    posix_spawnattr_setpgroup(&attributes, 0)
    let flags = Int32(POSIX_SPAWN_SETSIGMASK) | Int32(POSIX_SPAWN_SETSIGDEF) | Int32(POSIX_SPAWN_SETPGROUP)
    posix_spawnattr_setflags(&attributes, Int16(flags))

    var pid: pid_t = 0
    let code = withCStrings(arguments) { arguments in
      withCStrings(environment) { posix_spawn(&pid, path, &actions, &attributes, arguments, $0) }
    }
    guard code == 0 else { throw SystemError(path, code: code) }
    return pid
  }

  /// Descriptors of this process that a child would get unasked: whose they are and whether they are still open when the
  /// child starts is no matter, for it only closes its own copies.
  private static func inherited() -> [Int32] {
    Files.list("/dev/fd").compactMap(Int32.init).filter { $0 > 2 && fcntl($0, F_GETFD) & FD_CLOEXEC == 0 }
  }

  /// Reads until the other end is closed; false if that did not happen in time. What is too much is dropped.
  private static func capture(_ file: Int32, until deadline: Double, into bytes: inout [UInt8]) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 1 << 14)
    while true {
      let left = deadline - sm_now()
      guard left > 0 else { return false }
      var request = pollfd(fd: file, events: Int16(POLLIN), revents: 0)
      let ready = poll(&request, 1, Int32(min(left * 1000 + 1, 1e9)))
      if ready == 0 || (ready < 0 && errno == EINTR) { continue }
      let got = read(file, &buffer, buffer.count)
      if got < 0, errno == EINTR { continue }
      guard got > 0 else { return true }
      bytes.append(contentsOf: buffer.prefix(min(got, capturedBytes - bytes.count)))
    }
  }

  private static func collect(_ pid: pid_t, wait: Bool) -> End? {
    var status: Int32 = 0
    while true {
      let got = waitpid(pid, &status, wait ? 0 : WNOHANG)
      if got == 0 { return nil }
      if got < 0, errno == EINTR { continue }
      guard got == pid else { return .unknown }
      let signal = status & 0x7f
      return signal == 0 ? .exited(status >> 8 & 0xff) : .killed(signal: signal)
    }
  }
}

/// The strings as C has lists of them: pointers and a null.
private func withCStrings<Result>(_ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result) -> Result {
  let pointers = strings.map { strdup($0) }
  defer { for pointer in pointers { free(pointer) } }
  return body(pointers + [nil])
}
