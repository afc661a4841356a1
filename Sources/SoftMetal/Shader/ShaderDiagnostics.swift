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

  struct Message {
    var place: Place
    var kind: String
    var text: String
    var line: String { "\(place.text): \(kind): \(text)" }
  }

  static func text(_ error: ShaderError) -> String {
    let file = error.file.isEmpty ? sourceName : error.file
    return "\(Place(file: file, line: error.line, column: error.column).text): error: \(error.message)"
  }

  /// Warnings of clang that may be errors of Metal's.
  static let warnings = ["-Wvla", "-Wimplicit-float-conversion", "-Wdouble-promotion"]

  /// The errors among what clang printed, each with its notes; nil if there is none that has a place.
  ///
  /// - Parameter isLibrary: whether a file is the device library's. Nobody can look there, so an error in it moves to
  ///   where the shader caused it, which one of its notes says.
  static func errors(_ output: String, isLibrary: (String) -> Bool) -> String? {
    var lines: [String] = []
    for var group in groups(output) {
      if group[0].kind == "warning" {
        guard !isLibrary(group[0].place.file), let text = refusal(group[0].text, note: group.dropFirst().first?.text)
        else { continue }
        group[0].text = text
      } else if group[0].text == "no matching function for call to '\(DeviceNames.threadgroupVariable)'" {
        // No template takes an array type of open length.
        group[0].text = "the size of a threadgroup variable must be a constant expression; a function constant is none"
      }
      let notes = group.dropFirst().filter { !isLibrary($0.place.file) }
      if isLibrary(group[0].place.file), let cause = notes.first { group[0].place = cause.place }
      group[0].kind = "error"
      lines.append(group[0].line)
      lines += notes.map(\.line)
    }
    return lines.isEmpty ? nil : lines.joined(separator: "\n")
  }

  /// What clang printed, each error or warning followed by its notes.
  static func groups(_ output: String) -> [[Message]] {
    var groups: [[Message]] = []
    for line in output.split(separator: "\n") {
      guard let message = message(line) else { continue }
      if message.kind == "note" {
        if !groups.isEmpty { groups[groups.count - 1].append(message) }
      } else {
        groups.append([message])
      }
    }
    return groups
  }

  /// What Metal says against the cause of a warning; nil if it has no objection.
  private static func refusal(_ warning: String, note: String?) -> String? {
    if warning.hasPrefix("variable length array") {
      // While a function constant is open, arrays that it sizes seem to have no fixed length.
      let isOpen = note.map { $0.hasPrefix("initializer of ") && $0.hasSuffix(" is unknown") } ?? true
      return isOpen ? nil : "variable length arrays are not supported in Metal"
    }
    guard let split = warning.firstRange(of: "' to '") ?? warning.firstRange(of: "') to '") else { return nil }
    let isFromBFloat = isBFloat(warning[..<split.lowerBound]), isToBFloat = isBFloat(warning[split.upperBound...])
    if warning.contains("loses floating-point precision"), isToBFloat {
      return "a value of another floating-point type does not convert to 'bfloat' implicitly"
    }
    if warning.contains("increases floating-point precision"), isFromBFloat, isHalf(warning[split.upperBound...]) {
      return "'half' and 'bfloat' cannot be combined: convert one of them"
    }
    return nil
  }

  private static func isBFloat(_ type: Substring) -> Bool { type.contains("bfloat") || type.contains("__bf16") }
  private static func isHalf(_ type: Substring) -> Bool { type.contains("half") || type.contains("_Float16") }

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
