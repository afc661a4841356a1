/// The host names of the kernels that are spelled out in shader text, in its order. Text whose brackets do not match is
/// refused.
///
/// It serves sources whose kernels have native code, so that nobody waits for a compiler who needs none. Macros are not
/// expanded and conditions not evaluated.
func scanFunctionNames(_ source: String) throws(MTLLibraryError) -> [String] {
  let tokens = try SourceScanner(source).tokens()
  try checkBrackets(tokens)
  return kernelNames(tokens.filter { !$0.isDirective })
}

// MARK: Tokens

private struct ScannedToken {
  enum Kind { case word, number, string, mark }
  var kind: Kind
  var text: String
  var line: Int
  var column: Int
  /// On a line that begins with `#`.
  var isDirective: Bool

  func isMark(_ mark: String) -> Bool { kind == .mark && text == mark }
}

private func compileFailure(_ line: Int, _ column: Int, _ text: String) -> MTLLibraryError {
  MTLLibraryError(.compileFailure, "program_source:\(line):\(column): error: \(text)")
}

private struct SourceScanner {
  private let bytes: [UInt8]
  private var position = 0
  private var line = 1
  private var lineStart = 0
  private var isDirective = false

  init(_ source: String) { bytes = Array(source.utf8) }

  private func peek(_ ahead: Int = 0) -> UInt8 { position + ahead < bytes.count ? bytes[position + ahead] : 0 }

  private mutating func advance() {
    if peek() == UInt8(ascii: "\n") {
      line += 1
      lineStart = position + 1
    }
    position += 1
  }

  consuming func tokens() throws(MTLLibraryError) -> [ScannedToken] {
    var found: [ScannedToken] = []
    while position < bytes.count {
      let byte = peek()
      if byte == UInt8(ascii: "\\"), peek(1) == UInt8(ascii: "\n") {
        advance()
        advance()
      } else if byte == UInt8(ascii: "\n") {
        isDirective = false
        advance()
      } else if byte <= UInt8(ascii: " ") {
        advance()
      } else if byte == UInt8(ascii: "/"), peek(1) == UInt8(ascii: "/") {
        while position < bytes.count, peek() != UInt8(ascii: "\n") { advance() }
      } else if byte == UInt8(ascii: "/"), peek(1) == UInt8(ascii: "*") {
        try skipComment()
      } else {
        if byte == UInt8(ascii: "#"), found.last.map({ $0.line < line }) ?? true { isDirective = true }
        found.append(try token())
      }
    }
    return found
  }

  private mutating func skipComment() throws(MTLLibraryError) {
    let start = (line, position - lineStart + 1)
    position += 2
    while position < bytes.count {
      if peek() == UInt8(ascii: "*"), peek(1) == UInt8(ascii: "/") {
        position += 2
        return
      }
      advance()
    }
    throw compileFailure(start.0, start.1, "unterminated /* comment")
  }

  private mutating func token() throws(MTLLibraryError) -> ScannedToken {
    let start = position
    var token = ScannedToken(
      kind: .mark, text: "", line: line, column: position - lineStart + 1, isDirective: isDirective)
    let first = peek()
    if first == UInt8(ascii: "\"") || (first == UInt8(ascii: "'") && !isDirective) {
      token.kind = .string
      try skipQuoted(first, token)
      token.text = String(decoding: bytes[start + 1..<position - 1], as: UTF8.self)
      return token
    }
    position += 1
    if Self.isWord(first) {
      token.kind = (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) ? .number : .word
      // A number may have its digits parted: 1'000.
      while Self.isWord(peek()) || (token.kind == .number && peek() == UInt8(ascii: "'") && Self.isWord(peek(1))) {
        position += 1
      }
    }
    token.text = String(decoding: bytes[start..<position], as: UTF8.self)
    return token
  }

  private mutating func skipQuoted(_ quote: UInt8, _ token: ScannedToken) throws(MTLLibraryError) {
    position += 1
    while peek() != quote {
      guard position < bytes.count, peek() != UInt8(ascii: "\n") else {
        throw compileFailure(token.line, token.column, "missing terminating \(Character(Unicode.Scalar(quote)))")
      }
      position += peek() == UInt8(ascii: "\\") && peek(1) != UInt8(ascii: "\n") ? 2 : 1
    }
    position += 1
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), 0x80...:
      true
    default: false
    }
  }
}

// MARK: Brackets

/// Of alternatives under `#if` only the first counts: each is balanced with what surrounds them, not with the others.
private func checkBrackets(_ tokens: [ScannedToken]) throws(MTLLibraryError) {
  let closing = ["(": ")", "[": "]", "{": "}"]
  var open: [ScannedToken] = []
  var skipping = 0
  for (index, token) in tokens.enumerated() {
    if token.isDirective {
      guard token.isMark("#"), index + 1 < tokens.count else { continue }
      switch tokens[index + 1].text {
      case "if", "ifdef", "ifndef": skipping += skipping > 0 ? 1 : 0
      case "else", "elif": skipping = max(skipping, 1)
      case "endif": skipping = max(skipping - 1, 0)
      default: break
      }
      continue
    }
    guard skipping == 0, token.kind == .mark else { continue }
    if closing[token.text] != nil {
      open.append(token)
    } else if closing.values.contains(token.text) {
      guard let opener = open.popLast() else {
        throw compileFailure(token.line, token.column, "extraneous closing '\(token.text)'")
      }
      guard closing[opener.text] == token.text else {
        throw compileFailure(
          token.line, token.column,
          "expected '\(closing[opener.text] ?? "")' to match '\(opener.text)' at \(opener.line):\(opener.column), "
            + "got '\(token.text)'")
      }
    }
  }
  if let opener = open.last {
    throw compileFailure(opener.line, opener.column, "'\(opener.text)' is never closed")
  }
}

// MARK: Kernels

private func kernelNames(_ tokens: [ScannedToken]) -> [String] {
  var names: [String] = []
  var inTemplate = false
  var hasHostName = false
  func add(_ name: String) {
    if !names.contains(name) { names.append(name) }
  }
  for (index, token) in tokens.enumerated() {
    switch (token.kind, token.text) {
    case (.mark, ";"), (.mark, "{"), (.mark, "}"):
      inTemplate = false
      hasHostName = false
    case (.word, "template"): inTemplate = true
    case (.word, "host_name"):
      if index + 2 < tokens.count, tokens[index + 1].isMark("("), tokens[index + 2].kind == .string {
        hasHostName = true
        add(tokens[index + 2].text)
      }
    case (.word, "kernel"):
      // A template is a kernel only where it is instantiated under a host name, which is then its name.
      if !inTemplate, !hasHostName, let name = declaredName(tokens[(index + 1)...]) { add(name) }
    default: break
    }
  }
  return names
}

/// The name in `… void NAME (`, if the declaration goes on like that.
private func declaredName(_ tokens: ArraySlice<ScannedToken>) -> String? {
  guard let void = tokens.firstIndex(where: { [";", "{", "}", "void"].contains($0.text) }), tokens[void].text == "void"
  else { return nil }
  var name: String?
  for token in tokens[(void + 1)...] {
    if token.isMark("(") { return name }
    if token.kind == .word { name = token.text } else if !token.isMark(":") { return nil }
  }
  return nil
}
