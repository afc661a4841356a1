import CSoftMetal

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The directory in which kernels are compiled and kept.
///
/// It is the user's cache, shared by all processes, or, where there is none to be had, a private temporary directory
/// that lives as long as the process. A file's name says everything its contents depend on, so it is never changed,
/// only replaced by its equal; files appear by renaming and carry a seal, so that a reader finds a whole one or none.
final class ShaderStore: Sendable {
  private struct Place {
    var path: String
    var isCache: Bool
  }

  private let environment: ShaderEnvironment
  private let place = Guarded<Place?>(nil)

  init(_ environment: ShaderEnvironment) { self.environment = environment }

  // MARK: Where

  /// Runs `body` with the directory; once more, with a temporary one, if the cache turns out not to be usable.
  func attempt<Result>(_ body: (String) throws(SystemError) -> Result) throws(SystemError) -> Result {
    let first = try current()
    do throws(SystemError) {
      return try body(first.path)
    } catch {
      guard first.isCache else { throw error }
      return try body(try leave(first.path, error).path)
    }
  }

  private func current() throws(SystemError) -> Place {
    try place.withLock { place throws(SystemError) in
      if let place, place.isCache || Files.facts(place.path)?.isDirectory == true { return place }
      let found = try place == nil ? cache() : temporary()
      place = found
      return found
    }
  }

  private func cache() throws(SystemError) -> Place {
    guard let path = environment.cache else { return try temporary() }
    do throws(SystemError) {
      try Files.makePrivateDirectory(path)
      return Place(path: path, isCache: true)
    } catch {
      Self.say(error)
      return try temporary()
    }
  }

  private func leave(_ path: String, _ reason: SystemError) throws(SystemError) -> Place {
    try place.withLock { place throws(SystemError) in
      if let place, place.path != path { return place }
      Self.say(reason)
      let found = try temporary()
      place = found
      return found
    }
  }

  private func temporary() throws(SystemError) -> Place {
    let path = try Files.makeUniqueDirectory("\(environment.temporary)/softmetal-")
    TemporaryDirectories.removeAtExit(path)
    return Place(path: path, isCache: false)
  }

  private static func say(_ reason: SystemError) {
    let text = Array("SoftMetal: \(reason); compiled kernels are kept for this process only\n".utf8)
    _ = write(STDERR_FILENO, text, text.count)
  }

  // MARK: Files

  /// The path of a whole file of that name. It counts as used.
  func find(_ name: String) -> String? { load(name)?.path }

  /// What was kept under that name. It counts as used.
  func contents(_ name: String) -> [UInt8]? { load(name)?.bytes }

  private func load(_ name: String) -> (path: String, bytes: [UInt8])? {
    guard let directory = try? current().path else { return nil }
    let path = "\(directory)/\(name)"
    guard let sealed = try? Files.load(path) else { return nil }
    guard let bytes = Seal.open(sealed) else {
      Files.remove(path)
      return nil
    }
    Files.touch(path)
    return (path, bytes)
  }

  /// Keeps bytes under a name. That it may fail is no harm: they are made again.
  func keep(_ bytes: [UInt8], as name: String) {
    _ = try? attempt { directory throws(SystemError) in
      try Self.inWorkDirectory(of: directory) { work throws(SystemError) in
        try Files.store(bytes + Seal.of(bytes), at: "\(work)/entry")
        try Files.move("\(work)/entry", to: "\(directory)/\(name)")
      }
    }
    trim()
  }

  /// Keeps a file that was made in a work directory of `directory`, with a seal put to it. Returns where it is then.
  func adopt(_ made: String, in directory: String, as name: String) throws(SystemError) -> String {
    try Files.store(Seal.of(try Files.load(made)), at: made, appending: true)
    try Files.move(made, to: "\(directory)/\(name)")
    trim()
    return "\(directory)/\(name)"
  }

  /// A directory that is gone afterwards, on the same file system as what is kept.
  static func inWorkDirectory<Result>(
    of directory: String, _ body: (String) throws(SystemError) -> Result
  ) throws(SystemError) -> Result {
    let work = try Files.makeUniqueDirectory("\(directory)/\(workPrefix)")
    defer { Files.removeDirectory(work) }
    return try body(work)
  }

  private static let workPrefix = "work-"

  // MARK: Size

  private static let nanoseconds: Int64 = 1_000_000_000
  /// A work directory is as old when a crash left it; one of headers, when it belongs to a version no longer used.
  private static let abandonedAfter = (work: 3600 * nanoseconds, other: 30 * 24 * 3600 * nanoseconds)

  /// What was used so lately may be about to be loaded.
  private static let inUse = 60 * nanoseconds

  /// Removes what was not used for longest until the rest fits.
  private func trim() {
    guard let directory = try? current().path else { return }
    var files: [(path: String, facts: Files.Facts)] = []
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    let moment = Int64(now.tv_sec) * Self.nanoseconds
    for name in Files.list(directory) {
      let path = "\(directory)/\(name)"
      guard let facts = Files.facts(path) else { continue }
      if facts.isFile {
        files.append((path, facts))
        continue
      }
      let isWork = name.hasPrefix(Self.workPrefix)
      let patience = isWork ? Self.abandonedAfter.work : Self.abandonedAfter.other
      if moment - facts.modified > patience { Files.removeDirectory(path) }
    }
    var total = files.reduce(0) { $0 + $1.facts.bytes }
    for file in files.sorted(by: { $0.facts.modified < $1.facts.modified })
    where total > environment.cacheBytes && moment - file.facts.modified > Self.inUse {
      Files.remove(file.path)
      total -= file.facts.bytes
    }
  }
}

/// What stands at the end of a kept file: hash and length of what is before it.
enum Seal {
  private static let magic = Array("SOFTMTL1".utf8)

  static func of(_ bytes: [UInt8]) -> [UInt8] {
    SHA256.hash(bytes).bytes + withUnsafeBytes(of: UInt64(bytes.count).littleEndian) { Array($0) } + magic
  }

  /// The bytes without their seal; nil if it is not theirs.
  static func open(_ sealed: [UInt8]) -> [UInt8]? {
    let count = sealed.count - Digest.byteCount - 8 - magic.count
    guard count >= 0 else { return nil }
    let bytes = Array(sealed.prefix(count))
    return of(bytes) == Array(sealed.suffix(from: count)) ? bytes : nil
  }
}

/// Directories to be removed when the process ends.
private enum TemporaryDirectories {
  /// With the process that made each: a forked one must not take away what its parent still uses.
  static let paths = Guarded<[(path: String, process: pid_t)]>([])

  static func removeAtExit(_ path: String) {
    let isFirst = paths.withLock { paths in
      paths.append((path, getpid()))
      return paths.count == 1
    }
    guard isFirst else { return }
    atexit {
      for (path, process) in TemporaryDirectories.paths.current where process == getpid() {
        Files.removeDirectory(path)
      }
    }
  }
}
