// The three runs of the compiler: preprocessing, checking what a library declares, building a kernel.
extension ShaderToolchain {
  private static let longestSource = 64 << 20
  /// One error a line; no file that tells of a crash.
  private static let plain = ["-fno-caret-diagnostics", "-fno-color-diagnostics", "-fno-crash-diagnostics"]
  private static let input = ["-x", "c++"]

  /// A text or a path, or what the compiler objects to.
  private typealias Made = Result<String, MTLLibraryError>

  // MARK: Preprocessing

  /// The source with its macros expanded and its lines marked.
  func preprocess(_ source: String, _ settings: CompileSettings) throws(MTLLibraryError) -> String {
    guard source.utf8.count <= Self.longestSource else {
      throw MTLLibraryError(
        .compileFailure,
        "makeLibrary: source: expected at most \(Self.longestSource) bytes, got \(source.utf8.count)")
    }
    let options = try Self.preprocessing(settings)
    let compiler = try compiler()
    let name = "source-\(key(compiler, options + [source]))"
    if let known = store.contents(name) { return String(decoding: known, as: UTF8.self) }
    let text = try onDisk { directory throws(SystemError) in
      let place = try DeviceLibrary.shared.install(in: directory)
      return try ShaderStore.inWorkDirectory(of: directory) { work throws(SystemError) -> Made in
        let file = "\(work)/source.metal"
        try Files.store(Array("#line 1 \"\(ShaderDiagnostics.sourceName)\"\n\(source)".utf8), at: file)
        let process = try run(
          compiler, options + ["-I", place.forShaders] + Self.input + [file, "-o", "\(work)/out"])
        if let failure = failure(process, place) { return .failure(failure) }
        let output = String(decoding: try Files.load("\(work)/out"), as: UTF8.self)
        return Result { () throws(MTLLibraryError) in
          try LineMarkers.normalise(output, source: file, headers: place.forShaders)
        }
      }
    }.get()
    store.keep(Array(text.utf8), as: name)
    return text
  }

  private static func preprocessing(_ settings: CompileSettings) throws(MTLLibraryError) -> [String] {
    // The last two are for zig, which brings headers of its own.
    let alone = ["-undef", "-nostdinc", "-nostdinc++", "-nostdlib"]
    return ["-E", "-std=gnu++17"] + alone + ["-w"] + plain + (try macros(settings).map { "-D\($0)" })
  }

  /// The macros that a library's options define, besides Metal's own, as `NAME=VALUE`.
  private static func macros(_ settings: CompileSettings) throws(MTLLibraryError) -> [String] {
    let version = settings.languageVersion.rawValue
    var macros = [
      "__SOFTMETAL__=1", "__METAL__=1", "__METAL_MACOS__=1",
      "__METAL_VERSION__=\((version >> 16) * 100 + (version & 0xffff) * 10)",
      "__HAVE_BFLOAT__=1", "__cplusplus=\(version >> 16 >= 4 ? "201703L" : "201402L")",
    ]
    if settings.mathMode == .fast { macros.append("__FAST_MATH__=1") }
    for (name, value) in settings.preprocessorMacros.sorted(by: { $0.key < $1.key }) {
      guard isIdentifier(name) else {
        throw MTLLibraryError(
          .compileFailure, "makeLibrary: preprocessorMacros: expected a name of letters, digits and _, got \"\(name)\"")
      }
      guard !value.utf8.contains(where: { $0 < UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }) else {
        throw MTLLibraryError(.compileFailure, "makeLibrary: preprocessorMacros: \(name): expected one line of text")
      }
      macros.append("\(name)=\(value)")
    }
    return macros
  }

  private static func isIdentifier(_ name: String) -> Bool {
    guard let first = name.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return false }
    return name.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
      default: false
      }
    }
  }

  // MARK: Checking and building

  /// Throws what the compiler objects to in a translation that is not meant to run, or to the address spaces in another.
  func check(_ text: String, spaces: String, _ probe: SpaceProbe, _ settings: CompileSettings) throws(MTLLibraryError) {
    let compiler = try compiler()
    let options = Self.options(ShaderFlavour(lockstep: true, checked: false), settings)
    let name = "check-\(key(compiler, options + SpaceProbe.command(compiler, []) + [text, spaces]))"
    if store.find(name) != nil { return }
    let found = try onDisk { directory throws(SystemError) in
      let place = try DeviceLibrary.shared.install(in: directory)
      return try ShaderStore.inWorkDirectory(of: directory) { work throws(SystemError) -> MTLLibraryError? in
        try Files.store(Array(text.utf8), at: "\(work)/check.cpp")
        try Files.store(Array(spaces.utf8), at: "\(work)/probe.clcpp")
        // Zig insists on a result.
        let goal = compiler.isZig ? ["-O0", "-c", "-o", "\(work)/check.o"] : ["-fsyntax-only"]
        let headers = ["-I", place.forKernels]
        let (process, printed) = try run(
          compiler, options + goal + headers + Self.input + ["\(work)/check.cpp"],
          beside: SpaceProbe.command(compiler, headers + ["\(work)/probe.clcpp"]))
        if let failure = failure(process, place) { return failure }
        return probe.errors(printed, isLibrary: place.isInternal).map { MTLLibraryError(.compileFailure, $0) }
      }
    }
    if let found { throw found }
    store.keep([], as: name)
  }

  /// The compiled kernel of that name, if it is in use or on disk.
  func known(_ file: String) -> LoadedShader? {
    try? loaded.shader(file) { () throws(MTLLibraryError) in
      guard let path = store.find(file) else { throw MTLLibraryError(.internal, "\(file) is not in the cache") }
      return try LoadedShader(path)
    }
  }

  /// The compiled kernel, loaded: the one in use, the one on disk, or a new one. And the name of its file.
  func build(
    _ text: String, _ flavour: ShaderFlavour, _ settings: CompileSettings
  ) throws(MTLLibraryError) -> (LoadedShader, file: String) {
    let compiler = try compiler()
    let options = Self.options(flavour, settings)
    let name = "kernel-\(key(compiler, options + [text])).so"
    let shader = try loaded.shader(name) { () throws(MTLLibraryError) in
      // What is whole and cannot be loaded all the same is made anew.
      if let path = store.find(name), let shader = try? LoadedShader(path) { return shader }
      let made = try onDisk { directory throws(SystemError) in
        let place = try DeviceLibrary.shared.install(in: directory)
        return try ShaderStore.inWorkDirectory(of: directory) { work throws(SystemError) -> Made in
          try Files.store(Array(text.utf8), at: "\(work)/kernel.cpp")
          for step in Self.steps(compiler, options + ["-I", place.forKernels], work, flavour) {
            if let failure = failure(try run(compiler, step), place) { return .failure(failure) }
          }
          return .success(try store.adopt("\(work)/kernel.so", in: directory, as: name))
        }
      }
      return try LoadedShader(try made.get())
    }
    return (shader, name)
  }

  /// The compiler's arguments, run by run, that make `kernel.so` of `kernel.cpp`.
  private static func steps(
    _ compiler: Compiler, _ options: [String], _ work: String, _ flavour: ShaderFlavour
  ) -> [[String]] {
    let source = input + ["\(work)/kernel.cpp"], goal = ["-o", "\(work)/kernel.so"]
    guard compiler.isZig, flavour.checked else { return [options + source + goal] }
    // Told of a sanitizer when it links, zig would bring the sanitizer's own run-time.
    let object = "\(work)/kernel.o"
    let compile = options + ["-c"] + source + ["-o", object]
    let link = options.filter { !$0.hasPrefix("-fsanitize") } + [object] + goal
    return [compile, link]
  }

  private static func options(_ flavour: ShaderFlavour, _ settings: CompileSettings) -> [String] {
    var options = DeviceLibrary.flags(flavour) + ShaderDiagnostics.warnings + plain
    // Never -ffinite-math-only: masks are made of infinities, and Metal's own GPUs honour them.
    // Plain "fast" would fuse what a pragma says to leave alone.
    options.append("-ffp-contract=\(settings.mathMode == .safe ? "on" : "fast-honor-pragmas")")
    if settings.optimizationLevel == .size, !flavour.checked { options.append("-Os") }
    return options
  }

  /// A name for a source, and for all that it depends on what is found in it and made of it.
  func key(_ source: String, _ settings: CompileSettings) throws(MTLLibraryError) -> String {
    let checking = Self.options(ShaderFlavour(lockstep: true, checked: false), settings)
    let version = "\(settings.languageVersion.rawValue)"
    let compiler = try compiler().identity
    var hash = SHA256()
    for word in FrontEnd.identity + (try Self.preprocessing(settings)) + checking { hash.add(word) }
    for word in [compiler, version, source] { hash.add(word) }
    return hash.finish().hex
  }

  /// A name for what these words make of the compiler and the device library.
  private func key(_ compiler: Compiler, _ words: [String]) -> String {
    var hash = SHA256()
    hash.add(compiler.identity)
    hash.add(DeviceLibrary.shared.digest.hex)
    for word in words { hash.add(word) }
    return hash.finish().hex
  }
}

/// The lines `# LINE "FILE" FLAGS` with which a preprocessor says where the next line is from.
enum LineMarkers {
  /// Names the source and the headers as a shader knows them, without the places where they happen to lie, and refuses
  /// files that were included from anywhere else.
  static func normalise(_ text: String, source: String, headers: String) throws(MTLLibraryError) -> String {
    var output = ""
    output.reserveCapacity(text.utf8.count)
    var (file, line) = (ShaderDiagnostics.sourceName, 0)
    for row in text.split(separator: "\n", omittingEmptySubsequences: false) {
      defer { output += "\n" }
      guard let marker = Marker(row) else {
        output += row
        line += 1
        continue
      }
      var name = marker.file
      if name == source {
        name = ShaderDiagnostics.sourceName
      } else if name.hasPrefix("\(headers)/") {
        name = String(name.dropFirst(headers.count + 1))
      } else if marker.enters, Files.facts(name)?.isDirectory == false {
        throw MTLLibraryError(.compileFailure, "\(file):\(max(line, 1)):1: error: '\(name)' file not found")
      }
      output += "# \(marker.line) \"\(name)\"\(marker.flags)"
      (file, line) = (name, marker.line)
    }
    if output.hasSuffix("\n\n") { output.removeLast() }
    return output
  }

  private struct Marker {
    let line: Int
    let file: String
    /// With the space before them.
    let flags: Substring

    var enters: Bool { flags.hasPrefix(" 1") }

    init?(_ row: Substring) {
      guard row.hasPrefix("# "), let open = row.firstIndex(of: "\""), let close = row.lastIndex(of: "\""), open < close,
        let number = Int(row[row.index(row.startIndex, offsetBy: 2)..<open].prefix { $0 != " " })
      else { return nil }
      line = number
      file = String(row[row.index(after: open)..<close])
      flags = row[row.index(after: close)...]
    }
  }
}
