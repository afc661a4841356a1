/// Reads what clang says about a shader in C++ for OpenCL, whose address spaces are those of Metal.
///
/// That language and its library differ from Metal in much else. So an error counts only if it is certain that nothing
/// but an address space is wrong: all others are dropped, as is what involves `__generic`, of which Metal knows nothing.
struct SpaceProbe {
  /// How many functions the shader has under a name.
  let overloads: (String) -> Int

  /// The command that reads a probe's text.
  static func command(_ compiler: Compiler, _ arguments: [String]) -> [String] {
    let common = ["-cl-std=clc++2021", "-fsyntax-only", "-w", "-fshow-overloads=all", "-fno-caret-diagnostics"]
    guard compiler.isZig else {
      let driver = ["-x", "cl", "-cl-no-stdinc", "-ferror-limit=0", "-fno-color-diagnostics", "-fno-crash-diagnostics"]
      return compiler.command + driver + common + arguments
    }
    // Zig's driver knows nothing of the language. What is behind it is clang's own, whose words these are.
    return [compiler.command[0], "clang", "-cc1", "-x", "cl", "-ferror-limit", "0"] + common + arguments
  }

  private static let spaces = [
    "__global": "device", "__local": "threadgroup", "__constant": "constant", "__private": "thread",
  ]

  /// The errors about address spaces, each with its notes; nil if there is none.
  func errors(_ output: String, isLibrary: (String) -> Bool) -> String? {
    var lines: [String] = []
    var groups = ShaderDiagnostics.groups(output)
    // What was cut off may be what speaks against the last one.
    if output.utf8.count >= ChildProcess.capturedBytes { groups.removeLast(min(1, groups.count)) }
    for group in groups where group[0].kind == "error" && !isLibrary(group[0].place.file) {
      let notes = group.dropFirst()
      guard isAboutSpaces(group[0].text) || isCall(group[0].text, notes.map(\.text)) else { continue }
      for var message in [group[0]] + notes.filter({ !isLibrary($0.place.file) }) {
        message.text = Self.inMetal(message.text)
        lines.append(message.line)
      }
    }
    return lines.isEmpty ? nil : lines.joined(separator: "\n")
  }

  // MARK: Which errors count

  private func isAboutSpaces(_ text: String) -> Bool {
    let types = Self.quoted(text)
    guard types.count == 2 else { return false }
    if ["C-style cast from ", "reinterpret_cast from ", "static_cast from "].contains(where: text.hasPrefix) {
      // A cast may change the type, too.
      return Self.spacesDiffer(types[0], types[1])
    }
    let isConversion =
      text.hasPrefix("cannot initialize ") && text.contains(" of type ")
      || text.contains("changes address space of pointer") || text.contains("changes address space of nested pointer")
      || text.hasPrefix("binding reference of type ") && text.hasSuffix(" changes address space")
      || text.hasPrefix("incompatible operand types (") || text.hasSuffix("non-overlapping address spaces")
    return isConversion && Self.spacesDiffer(types[0], types[1]) && Self.bare(types[0]) == Self.bare(types[1])
  }

  /// A call that no function takes, each for the address space of an argument alone.
  private func isCall(_ text: String, _ notes: [String]) -> Bool {
    guard text.hasPrefix("no matching function for call to "), let name = Self.quoted(text).first else { return false }
    let candidates = notes.filter { $0.hasPrefix("candidate ") }
    // With fewer candidates than the shader has functions, one of them was not understood.
    guard !candidates.isEmpty, candidates.count >= overloads(name) else { return false }
    return candidates.allSatisfy { note in
      let types = Self.quoted(note)
      if note.contains("cannot pass pointer to address space ")
        || note.contains("cannot bind reference in address space ")
      {
        return types.count == 2 && types.allSatisfy { Self.spaces[$0] != nil }
      }
      return note.contains(" does not match adjusted type ") && types.count == 2
        && Self.spacesDiffer(types[0], types[1])
    }
  }

  // MARK: Types

  /// What stands between quotes, without the explanations of aliases.
  private static func quoted(_ text: String) -> [String] {
    let parts = text.split(separator: "'", omittingEmptySubsequences: false)
    var found: [String] = []
    for index in stride(from: 1, to: parts.count - 1, by: 2) where !parts[index - 1].hasSuffix(" (aka ") {
      found.append(String(parts[index]))
    }
    return found
  }

  private static func words(_ type: String) -> [String] {
    var words: [String] = []
    var word = ""
    for character in type {
      if character.isLetter || character.isNumber || character == "_" {
        word.append(character)
      } else {
        if !word.isEmpty { words.append(word) }
        word = ""
        if character != " " { words.append(String(character)) }
      }
    }
    return word.isEmpty ? words : words + [word]
  }

  /// The words of a type without what qualifies the pointer itself: of `T *__private` only `T *` matters.
  private static func pointee(_ type: String) -> [String] {
    var words = words(type)
    guard words.contains("*") else { return words }
    while let last = words.last, last == "const" || last == "__generic" || spaces[last] != nil { words.removeLast() }
    return words
  }

  private static func spacesDiffer(_ one: String, _ other: String) -> Bool {
    let one = pointee(one), other = pointee(other)
    guard !one.contains("__generic"), !other.contains("__generic") else { return false }
    let first = one.filter { spaces[$0] != nil }, second = other.filter { spaces[$0] != nil }
    return !first.isEmpty && first.count == second.count && first != second
  }

  /// A type's words without spaces and constness.
  private static func bare(_ type: String) -> [String] {
    pointee(type).filter { $0 != "const" && spaces[$0] == nil }
  }

  /// A message with Metal's names, and without the space of pointers that are variables themselves.
  private static func inMetal(_ text: String) -> String {
    var text = text.replacing(" *__private'", with: " *'").replacing(" &__private'", with: " &'")
    for (name, space) in spaces { text = text.replacing(name, with: space) }
    // The last are names that the probe's header had to change.
    for (name, own) in [("_Float16", "half"), ("__bf16", "bfloat"), ("sm_name_", "")] {
      text = text.replacing(name, with: own)
    }
    return text
  }
}
