import CSoftMetal

/// A compiled kernel in memory. Unloaded with its last user.
final class LoadedShader: @unchecked Sendable {
  let shader: OpaquePointer

  /// - Throws: `MTLLibraryError.internal` if the file is no kernel of ours.
  init(_ path: String) throws(MTLLibraryError) {
    var reason = [CChar](repeating: 0, count: 1024)
    guard let shader = sm_shader_load(path, &reason, UInt64(reason.count)) else {
      let text = String(decoding: reason.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
      throw MTLLibraryError(.internal, "loading a compiled shader: \(text)")
    }
    self.shader = shader
  }

  deinit { sm_shader_unload(shader) }
}

/// The kernels in memory, by the names of their files. One is made by one thread, however many ask for it.
final class LoadedShaders: @unchecked Sendable {
  private struct Entry {
    weak var shader: LoadedShader?
    var isInTheMaking = false
  }

  private let monitor = Monitor()
  // Guarded by `monitor`.
  private var entries: [String: Entry] = [:]

  func shader(
    _ name: String, _ make: () throws(MTLLibraryError) -> LoadedShader
  ) throws(MTLLibraryError) -> LoadedShader {
    monitor.lock()
    while true {
      let entry = entries[name, default: Entry()]
      if let shader = entry.shader {
        monitor.unlock()
        return shader
      }
      if !entry.isInTheMaking { break }
      monitor.wait()
    }
    entries[name] = Entry(isInTheMaking: true)
    monitor.unlock()
    var made: LoadedShader?
    defer {
      monitor.withLock {
        entries[name] = made.map { Entry(shader: $0) }
        monitor.broadcast()
      }
    }
    let shader = try make()
    made = shader
    return shader
  }
}
