/// The shader text built into the library, and the flattening of its includes.
enum ShaderSource {
  /// Every embedded file by its bare name.
  private static let files: [String: String] = {
    var count: UInt32 = 0
    let table = UnsafeBufferPointer(start: cfa_shader_files(&count), count: Int(count))
    return Dictionary(
      table.map { (String(cString: $0.name), String(cString: $0.text)) }, uniquingKeysWith: { first, _ in first })
  }()

  private static let flattened = Locked<[String: String]>([:])

  /// The whole source of a room, includes flattened.
  static func builtIn(_ room: String) throws(FAError) -> String {
    if let known = flattened.withLock({ $0[room] }) { return known }
    guard let text = files["\(room).metal"] else {
      throw FAError(.kernelNotFound, "shader_source", "name", "no built-in source is called \(room)")
    }
    let source = try flatten(text, named: "\(room).metal")
    flattened.withLock { $0[room] = source }
    return source
  }

  /// `text` with each `#include "file"` replaced by that embedded file, once, so that source compiled from memory
  /// needs no search path. `#line` keeps messages naming the file and line the text came from.
  static func flatten(_ text: String, named name: String) throws(FAError) -> String {
    var included: Set<String> = []
    var output = ""
    try append(text, named: name, to: &output, included: &included)
    return output
  }

  // By bytes: a first launch waits for this, and characters would take most of its time.
  private static func append(
    _ text: String, named name: String, to output: inout String, included: inout Set<String>
  ) throws(FAError) {
    let lines = text.utf8.split(separator: newline, omittingEmptySubsequences: false)
    guard !included.isEmpty || lines.contains(where: { includedFile($0) != nil }) else {
      output += text
      return
    }
    output += "#line 1 \"\(name)\"\n"
    for (number, line) in lines.enumerated() {
      guard let file = includedFile(line) else {
        output += Substring(line)
        output += "\n"
        continue
      }
      guard let body = files[file] else {
        let message = "\(name):\(number + 1):1: error: '\(file)' file not found"
        throw FAError(.compileFailed, "shader_source", name, message, log: message)
      }
      if included.insert(file).inserted {
        try append(body, named: file, to: &output, included: &included)
        output += "#line \(number + 2) \"\(name)\"\n"
      } else {
        output += "\n"
      }
    }
  }

  /// The file of an `#include "file"` line.
  private static func includedFile(_ line: Substring.UTF8View) -> String? {
    let words = line.drop { $0 == space || $0 == tab }
    guard words.starts(with: "#include".utf8), let open = words.firstIndex(of: quote) else { return nil }
    let rest = words[words.index(after: open)...]
    guard let close = rest.firstIndex(of: quote) else { return nil }
    return String(rest[..<close])
  }

  private static let newline = UInt8(ascii: "\n")
  private static let space = UInt8(ascii: " ")
  private static let tab = UInt8(ascii: "\t")
  private static let quote = UInt8(ascii: "\"")
}
