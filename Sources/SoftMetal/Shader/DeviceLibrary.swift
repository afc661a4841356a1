import CSoftMetal

/// The headers that kernels are compiled with, as the C++ half of SoftMetal carries them.
struct DeviceLibrary: Sendable {
  struct File: Sendable {
    let name: String
    let text: [UInt8]
    /// Included by translated kernels, not by shaders.
    let isInternal: Bool
  }

  static let shared = DeviceLibrary()

  let files: [File]
  let digest: Digest

  private init() {
    var count: UInt32 = 0
    files = UnsafeBufferPointer(start: sm_shader_files(&count), count: Int(count)).map { file in
      let name = String(cString: file.name)
      return File(
        name: name, text: Array(String(cString: file.text).utf8),
        isInternal: name.hasPrefix("sm_") || name.hasPrefix("softmetal_"))
    }
    var hash = SHA256()
    for file in files {
      hash.add(file.name)
      hash.add(String(decoding: file.text, as: UTF8.self))
    }
    digest = hash.finish()
  }

  /// The compiler's arguments for one flavour, besides paths.
  static func flags(_ flavour: ShaderFlavour) -> [String] {
    var count: UInt32 = 0
    let flags = UnsafeBufferPointer(start: sm_shader_flags(flavour.checked ? 1 : 0, &count), count: Int(count))
    return flags.compactMap { $0.map { String(cString: $0) } }
      + ["-DSM_LOCKSTEP=\(flavour.lockstep ? 1 : 0)", "-DSM_CHECKED=\(flavour.checked ? 1 : 0)"]
  }

  /// Where the headers are on disk.
  struct Place {
    let root: String
    /// What a shader may include.
    var forShaders: String { "\(root)/metal" }
    /// What a translated kernel may include.
    var forKernels: String { "\(root)/device" }

    /// Whether the text of a file is SoftMetal's, and not the shader's: the headers and the entry of a translation.
    func isInternal(_ file: String) -> Bool { file.hasPrefix(root) || file == "softmetal_entry" }
  }

  /// Sees to it that the headers are in `directory`, whole and as they should be: a compiler reads them from there.
  func install(in directory: String) throws(SystemError) -> Place {
    let place = Place(root: "\(directory)/library-\(digest.hex.prefix(16))")
    try Files.makePrivateDirectory(place.root)
    try Files.makePrivateDirectory(place.forShaders)
    try Files.makePrivateDirectory(place.forKernels)
    for file in files {
      let path = "\(file.isInternal ? place.forKernels : place.forShaders)/\(file.name)"
      if (try? Files.load(path)) == file.text { continue }
      try ShaderStore.inWorkDirectory(of: directory) { work throws(SystemError) in
        try Files.store(file.text, at: "\(work)/header")
        try Files.move("\(work)/header", to: path)
      }
    }
    Files.touch(place.root)
    return place
  }
}
