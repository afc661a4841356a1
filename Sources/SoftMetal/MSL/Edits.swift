/// What a translation changes in the text, token by token. Whatever is not mentioned stays as it is, its lines included.
struct Edits {
  private var replaced: [Int: String] = [:]
  /// What was inserted last comes first.
  private var before: [Int: [String]] = [:]
  private var after: [Int: String] = [:]

  mutating func replace(_ index: Int, with text: String) { replaced[index] = text }

  mutating func drop(_ index: Int) { replaced[index] = "" }

  mutating func drop(_ range: Range<Int>) {
    for index in range { replaced[index] = "" }
  }

  /// In front of what has been inserted there before.
  mutating func insert(_ text: String, before index: Int) { before[index, default: []].append(text) }

  /// Behind what has been inserted there before.
  mutating func insert(_ text: String, after index: Int) { after[index, default: ""] += text }

  func isDropped(_ index: Int) -> Bool { replaced[index] == "" }

  func text(_ index: Int, _ token: Token) -> String {
    if before.isEmpty && after.isEmpty { return replaced[index] ?? token.text }
    return (before[index]?.reversed().joined() ?? "") + (replaced[index] ?? token.text) + (after[index] ?? "")
  }
}

/// Puts the kept declarations together again.
struct Renderer {
  let source: Source
  let edits: Edits
  private(set) var text = ""
  private var directive = 0
  private var end = 0
  /// Lines were left out: the next token must say where it stands.
  private var lostLine = true

  init(source: Source, edits: Edits) {
    self.source = source
    self.edits = edits
  }

  mutating func skip(_ tokens: Range<Int>) {
    guard let last = tokens.last else { return }
    space(upTo: source[tokens.lowerBound].start)
    end = source[last].end
    while directive < source.directives.count, source.directives[directive].bytes.lowerBound < end { directive += 1 }
    lostLine = true
  }

  mutating func copy(_ tokens: Range<Int>) {
    for index in tokens {
      let token = source[index]
      space(upTo: token.start)
      if lostLine {
        let place = source.map.place(of: token.start)
        text += "\n#line \(max(1, place.line)) \"\(place.file)\"\n"
        lostLine = false
      }
      text += edits.text(index, token)
      end = token.end
    }
  }

  /// What stands between two tokens: space, newlines, directives.
  private mutating func space(upTo start: Int) {
    while directive < source.directives.count, source.directives[directive].bytes.upperBound <= start {
      let next = source.directives[directive]
      directive += 1
      white(end..<next.bytes.lowerBound)
      end = next.bytes.upperBound
      switch next.kind {
      case .lineMarker(let line, let file):
        if !lostLine { text += "#line \(max(1, line)) \"\(file)\"" }
      case .pragma(let pragma):
        guard let translated = Pragmas.translate(pragma, isName: { source.names($0, near: end) }) else { continue }
        text += lostLine ? "\n\(translated)\n" : translated
      }
    }
    white(end..<start)
    end = start
  }

  private mutating func white(_ bytes: Range<Int>) {
    guard !lostLine, bytes.lowerBound < bytes.upperBound else { return }
    text += String(decoding: source.bytes[bytes], as: UTF8.self)
  }
}

enum Pragmas {
  /// The line that takes a pragma's place; nil for one that means nothing to the compiler.
  static func translate(_ pragma: String, isName: (String) -> Bool) -> String? {
    let words = pragma.split { " \t()".contains($0) }.map(String.init)
    switch words.first {
    case "clang", "nounroll", "STDC": return "#pragma \(pragma)"
    case "unroll":
      // The preprocessor leaves macros in pragmas alone, so a name may mean nothing any more.
      guard words.count > 1 else { return "#pragma unroll" }
      let names = words.dropFirst().filter { $0.first?.isASCIIDigit == false }
      return names.allSatisfy(isName) ? "#pragma \(pragma)" : nil
    case "METAL": return metal(Array(words.dropFirst()))
    default: return nil
    }
  }

  private static func metal(_ words: [String]) -> String? {
    guard words.count == 3, words[0] == "fp" else { return nil }
    switch (words[1], words[2]) {
    case ("math_mode", "safe"): return "#pragma float_control(precise, on)"
    case ("contract", "off"), ("contract", "on"), ("contract", "fast"): return "#pragma clang fp contract(\(words[2]))"
    default: return nil
    }
  }
}

extension Source {
  /// Whether the text around a byte has the word, as it would have one that a pragma may refer to.
  fileprivate func names(_ word: String, near offset: Int) -> Bool {
    var low = 0
    var high = tokens.count
    while low < high {
      let middle = (low + high) / 2
      if tokens[middle].start < offset { low = middle + 1 } else { high = middle }
    }
    return tokens[max(0, low - 4096)..<low].contains { $0.isWord && $0.text == word }
  }
}
