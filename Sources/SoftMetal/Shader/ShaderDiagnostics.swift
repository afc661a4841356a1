/// The compiler's messages as Metal has them: `program_source:LINE:COLUMN: error: …`, about the shader's own lines.
enum ShaderDiagnostics {
  /// What a source is called that no `#line` names otherwise.
  static let sourceName = "program_source"

  struct Place: Equatable {
    var file: String
    var line: Int
    var column: Int
    var text: String { "\(file):\(line):\(column)" }
  }

  private struct Message {
    var place: Place
    var kind: String
    var text: String
    var line: String { "\(place.text): \(kind): \(text)" }
  }

  static func text(_ error: ShaderError) -> String {
    let file = error.file.isEmpty ? sourceName : error.file
    return "\(Place(file: file, line: error.line, column: error.column).text): error: \(error.message)"
  }

  /// The errors among what clang printed, each with its notes; nil if there is none that has a place.
  ///
  /// - Parameter isLibrary: whether a file is the device library's. Nobody can look there, so an error in it moves to
  ///   where the shader caused it, which one of its notes says.
  static func errors(_ output: String, isLibrary: (String) -> Bool) -> String? {
    var groups: [[Message]] = []
    for line in output.split(separator: "\n") {
      guard let message = message(line) else { continue }
      if message.kind == "note" {
        if !groups.isEmpty { groups[groups.count - 1].append(message) }
      } else {
        groups.append([message])
      }
    }
    var lines: [String] = []
    for var group in groups where group[0].kind.hasSuffix("error") {
      let notes = group.dropFirst().filter { !isLibrary($0.place.file) }
      if isLibrary(group[0].place.file), let cause = notes.first { group[0].place = cause.place }
      group[0].kind = "error"
      lines.append(group[0].line)
      lines += notes.map(\.line)
    }
    return lines.isEmpty ? nil : lines.joined(separator: "\n")
  }

  /// `FILE:LINE:COLUMN: KIND: TEXT`, where the file may have colons itself.
  private static func message(_ line: Substring) -> Message? {
    for kind in ["fatal error", "error", "warning", "note"] {
      guard let found = line.firstRange(of: ": \(kind): ") else { continue }
      let place = line[..<found.lowerBound].split(separator: ":", omittingEmptySubsequences: false)
      guard place.count >= 3, let row = Int(place[place.count - 2]), let column = Int(place[place.count - 1]) else {
        continue
      }
      let file = place.dropLast(2).joined(separator: ":")
      return Message(
        place: Place(file: file, line: row, column: column), kind: kind, text: String(line[found.upperBound...]))
    }
    return nil
  }
}
