#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Why the system refused something.
struct SystemError: Error, CustomStringConvertible {
  let operation: String
  let code: Int32

  /// Takes the reason from `errno` unless one is given.
  init(_ operation: String, code: Int32 = errno) {
    self.operation = operation
    self.code = code
  }

  /// What programs print when the disk is to blame.
  static let outOfRoom: [(code: Int32, text: String)] = [
    (ENOSPC, "No space left on device"), (EDQUOT, "Disk quota exceeded"), (EROFS, "Read-only file system"),
  ]

  var description: String {
    var text = [CChar](repeating: 0, count: 256)
    // Two functions have this name; whichever it is, the number alone would do.
    guard strerror_r(code, &text, text.count) as Int32? == 0 else { return "\(operation): error \(code)" }
    return "\(operation): \(String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))"
  }
}

/// What the shader compiler and its cache ask of the file system. Every descriptor is closed on exec.
enum Files {
  struct Facts {
    var bytes: Int
    /// Nanoseconds since 1970.
    var modified: Int64
    var owner: uid_t
    var mode: mode_t

    init(_ raw: stat) {
      bytes = Int(raw.st_size)
      #if canImport(Darwin)
        let time = raw.st_mtimespec
      #else
        let time = raw.st_mtim
      #endif
      modified = Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
      owner = raw.st_uid
      mode = raw.st_mode
    }

    var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
    var isFile: Bool { mode & S_IFMT == S_IFREG }
  }

  /// Nil if there is nothing of that name. Links are followed.
  static func facts(_ path: String) -> Facts? {
    var raw = stat()
    return stat(path, &raw) == 0 ? Facts(raw) : nil
  }

  static func isExecutable(_ path: String) -> Bool { facts(path)?.isFile == true && access(path, X_OK) == 0 }

  /// The path without links; nil if there is nothing there.
  static func resolved(_ path: String) -> String? {
    guard let real = realpath(path, nil) else { return nil }
    defer { free(real) }
    return String(cString: real)
  }

  static func load(_ path: String) throws(SystemError) -> [UInt8] {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw SystemError("open \(path)") }
    defer { close(file) }
    var raw = stat()
    guard fstat(file, &raw) == 0 else { throw SystemError("stat \(path)") }
    var bytes = [UInt8](repeating: 0, count: max(Int(raw.st_size), 4096))
    var count = 0
    while true {
      if count == bytes.count { bytes.append(contentsOf: [UInt8](repeating: 0, count: bytes.count)) }
      let got = bytes.withUnsafeMutableBytes { room in
        read(file, room.baseAddress.map { $0 + count }, room.count - count)
      }
      if got < 0, errno == EINTR { continue }
      guard got >= 0 else { throw SystemError("read \(path)") }
      if got == 0 { break }
      count += got
    }
    bytes.removeLast(bytes.count - count)
    return bytes
  }

  /// Makes a file that must not be there yet, or appends to one that is.
  static func store(_ bytes: [UInt8], at path: String, appending: Bool = false) throws(SystemError) {
    let file = open(path, O_WRONLY | O_CLOEXEC | (appending ? O_APPEND : O_CREAT | O_EXCL), 0o600)
    guard file >= 0 else { throw SystemError("open \(path)") }
    var written = 0
    while written < bytes.count {
      let put = bytes.withUnsafeBytes { room in
        write(file, room.baseAddress.map { $0 + written }, room.count - written)
      }
      if put < 0, errno == EINTR { continue }
      guard put >= 0 else {
        let error = SystemError("write \(path)")
        close(file)
        throw error
      }
      written += put
    }
    // Some file systems say only now that they are full.
    guard close(file) == 0 else { throw SystemError("close \(path)") }
  }

  /// Puts `source` in the place of `destination` in one step.
  static func move(_ source: String, to destination: String) throws(SystemError) {
    guard rename(source, destination) == 0 else { throw SystemError("rename \(source) to \(destination)") }
  }

  /// Marks a file as just used.
  static func touch(_ path: String) { _ = utimensat(AT_FDCWD, path, nil, 0) }

  static func remove(_ path: String) { _ = unlink(path) }

  /// Removes a directory and the files in it, which is as deep as ours are.
  static func removeDirectory(_ path: String) {
    for name in list(path) {
      if unlink("\(path)/\(name)") != 0 { removeDirectory("\(path)/\(name)") }
    }
    _ = rmdir(path)
  }

  /// Names in a directory, in no order; none if it cannot be read.
  static func list(_ path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
        tuple.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: tuple.pointee)) {
          String(cString: $0)
        }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  /// Makes a directory, and those above it, for this user alone. Throws unless it then belongs to this user and nobody
  /// else may write to it: what is executed from it must be ours.
  static func makePrivateDirectory(_ path: String) throws(SystemError) {
    if mkdir(path, 0o700) != 0 {
      let reason = errno
      if reason == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex {
        try makeParents(String(path[..<slash]))
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw SystemError("mkdir \(path)") }
      } else if reason != EEXIST {
        throw SystemError("mkdir \(path)", code: reason)
      }
    }
    guard let facts = facts(path), facts.isDirectory else { throw SystemError("open \(path)", code: ENOTDIR) }
    guard facts.owner == geteuid() else { throw SystemError("\(path) belongs to another user", code: EPERM) }
    guard facts.mode & 0o022 == 0 else { throw SystemError("\(path) can be written to by others", code: EPERM) }
  }

  private static func makeParents(_ path: String) throws(SystemError) {
    if facts(path)?.isDirectory == true { return }
    if let slash = path.lastIndex(of: "/"), slash != path.startIndex { try makeParents(String(path[..<slash])) }
    guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw SystemError("mkdir \(path)") }
  }

  /// A new directory of this user's own: `prefix` and six more characters.
  static func makeUniqueDirectory(_ prefix: String) throws(SystemError) -> String {
    var template = Array((prefix + "XXXXXX").utf8CString)
    guard mkdtemp(&template) != nil else { throw SystemError("mkdtemp \(prefix)") }
    return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
