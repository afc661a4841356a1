/// Splits preprocessed text into tokens. Every text comes out as tokens or as an error, at a cost linear in its length.
///
/// `>` is always a token of its own, for `vec<vec<T, 2>>` must not end in a shift; whoever copies tokens copies the
/// space between them too, so `>>` stays whole.
struct Lexer {
  private let bytes: [UInt8]
  private var position = 0
  private var lineHasToken = false
  private(set) var tokens: [Token] = []
  private(set) var directives: [Directive] = []
  private(set) var map = SourceMap()

  init(_ bytes: [UInt8]) throws(ShaderError) {
    self.bytes = bytes
    tokens.reserveCapacity(bytes.count / 4)
    while position < bytes.count { try step() }
  }

  private func peek(_ ahead: Int = 0) -> UInt8 { position + ahead < bytes.count ? bytes[position + ahead] : 0 }

  private func error(_ message: String, at offset: Int) -> ShaderError { ShaderError(message, at: offset, in: map) }

  private mutating func step() throws(ShaderError) {
    switch peek() {
    case UInt8(ascii: "\n"): newline()
    case UInt8(ascii: " "), 9, 11, 12, 13: position += 1
    case UInt8(ascii: "\\") where peek(1) == UInt8(ascii: "\n"):
      map.addNewline(at: position + 1)
      position += 2
    case UInt8(ascii: "/") where peek(1) == UInt8(ascii: "/"):
      while position < bytes.count, peek() != UInt8(ascii: "\n") { position += 1 }
    case UInt8(ascii: "/") where peek(1) == UInt8(ascii: "*"): try comment()
    case UInt8(ascii: "#"): try directive()
    default:
      try token()
      lineHasToken = true
    }
  }

  private mutating func newline() {
    map.addNewline(at: position)
    lineHasToken = false
    position += 1
  }

  private mutating func comment() throws(ShaderError) {
    let start = position
    position += 2
    while position < bytes.count {
      if peek() == UInt8(ascii: "*"), peek(1) == UInt8(ascii: "/") {
        position += 2
        return
      }
      if peek() == UInt8(ascii: "\n") { map.addNewline(at: position) }
      position += 1
    }
    throw error("unterminated /* comment", at: start)
  }

  // MARK: Directives

  private mutating func directive() throws(ShaderError) {
    let start = position
    guard !lineHasToken else { throw error("stray '#' in the program", at: start) }
    while position < bytes.count, peek() != UInt8(ascii: "\n") { position += 1 }
    let words = String(decoding: bytes[start + 1..<position], as: UTF8.self)
      .split(maxSplits: 1, omittingEmptySubsequences: true) { $0 == " " || $0 == "\t" || $0 == "\r" }
    let first = words.first ?? ""
    let rest = words.count > 1 ? words[1] : ""
    if first == "pragma" {
      directives.append(Directive(kind: .pragma(String(rest)), bytes: start..<position))
    } else if first == "line" {
      let parts = rest.split(separator: " ", maxSplits: 1)
      try marker(parts.first ?? "", parts.count > 1 ? parts[1] : "", start)
    } else if first.first?.isASCIIDigit == true {
      try marker(first, rest, start)
    } else if !first.isEmpty {
      throw error("'#\(first)': expected preprocessed text", at: start)
    }
  }

  /// `# 12 "file" 1`: the next line is line 12 of the file.
  private mutating func marker(_ number: Substring, _ rest: Substring, _ start: Int) throws(ShaderError) {
    guard let line = Int(number), line >= 0, line <= Int32.max else {
      throw error("line marker: expected a line number, got '\(number)'", at: start)
    }
    var file = map.place(of: start).file
    if let open = rest.firstIndex(of: "\""), let close = rest.lastIndex(of: "\""), open < close {
      file = String(rest[rest.index(after: open)..<close])
    }
    directives.append(Directive(kind: .lineMarker(line: line, file: file), bytes: start..<position))
    map.addMarker(at: position + 1, line: line, file: file)
  }

  // MARK: Tokens

  private mutating func token() throws(ShaderError) {
    let start = position
    let first = peek()
    var kind = Token.Kind.mark
    if first.isDigit || (first == UInt8(ascii: ".") && peek(1).isDigit) {
      kind = .number
      number()
    } else if first.isWordByte {
      kind = .word
      while peek().isWordByte { position += 1 }
      if peek() == UInt8(ascii: "\""), let prefix = Self.stringPrefixes[Array(bytes[start..<position])] {
        kind = .string
        try prefix ? rawString(start) : quoted(UInt8(ascii: "\""), start)
      }
    } else if first == UInt8(ascii: "\"") || first == UInt8(ascii: "'") {
      kind = first == UInt8(ascii: "\"") ? .string : .character
      try quoted(first, start)
    } else {
      guard first > 32, first < 127, first != UInt8(ascii: "@"), first != UInt8(ascii: "`"),
        first != UInt8(ascii: "\\")
      else { throw error("unexpected character \(Self.display(first))", at: start) }
      position += markLength()
    }
    tokens.append(
      Token(kind: kind, text: String(decoding: bytes[start..<position], as: UTF8.self), start: start, end: position))
  }

  /// Whether a prefix makes the string a raw one.
  private static let stringPrefixes: [[UInt8]: Bool] = [
    Array("L".utf8): false, Array("u".utf8): false, Array("U".utf8): false, Array("u8".utf8): false,
    Array("R".utf8): true, Array("LR".utf8): true, Array("uR".utf8): true, Array("UR".utf8): true,
    Array("u8R".utf8): true,
  ]

  private static func display(_ byte: UInt8) -> String {
    byte > 32 && byte < 127 ? "'\(Character(Unicode.Scalar(byte)))'" : "0x\(String(byte, radix: 16))"
  }

  private mutating func number() {
    position += 1
    while true {
      let next = peek()
      let letter = next | 0x20
      if letter == UInt8(ascii: "e") || letter == UInt8(ascii: "p"),
        peek(1) == UInt8(ascii: "+") || peek(1) == UInt8(ascii: "-")
      {
        position += 2
      } else if next.isWordByte || next == UInt8(ascii: ".") {
        position += 1
      } else if next == UInt8(ascii: "'"), peek(1).isWordByte {
        position += 2
      } else {
        return
      }
    }
  }

  private mutating func quoted(_ quote: UInt8, _ start: Int) throws(ShaderError) {
    position += 1
    while peek() != quote {
      guard position < bytes.count, peek() != UInt8(ascii: "\n") else {
        throw error("missing terminating \(Character(Unicode.Scalar(quote))) character", at: start)
      }
      if peek() == UInt8(ascii: "\\"), peek(1) == UInt8(ascii: "\n") { map.addNewline(at: position + 1) }
      position += peek() == UInt8(ascii: "\\") ? 2 : 1
    }
    position += 1
  }

  /// `R"name(…)name"`: nothing within is special.
  private mutating func rawString(_ start: Int) throws(ShaderError) {
    position += 1
    var name: [UInt8] = []
    while position < bytes.count, peek() != UInt8(ascii: "("), name.count < 16 {
      name.append(peek())
      position += 1
    }
    let closing = [UInt8(ascii: ")")] + name + [UInt8(ascii: "\"")]
    while position + closing.count <= bytes.count {
      if bytes[position] == closing[0], bytes[position..<position + closing.count].elementsEqual(closing) {
        position += closing.count
        return
      }
      if peek() == UInt8(ascii: "\n") { map.addNewline(at: position) }
      position += 1
    }
    position = bytes.count
    throw error("unterminated raw string", at: start)
  }

  private static func codes(_ marks: [String]) -> Set<UInt32> {
    Set(marks.map { $0.utf8.reversed().reduce(0) { $0 << 8 | UInt32($1) } })
  }

  private static let marks3 = codes(["...", "<<=", ">>=", "->*"])
  private static let marks2 = codes([
    "->", "::", "++", "--", "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "!=", "<=", ">=", "==", "<<",
    ".*",
  ])

  private func markLength() -> Int {
    let code = UInt32(peek()) | UInt32(peek(1)) << 8
    if Self.marks3.contains(code | UInt32(peek(2)) << 16) { return 3 }
    return Self.marks2.contains(code) ? 2 : 1
  }
}

extension UInt8 {
  var isDigit: Bool { self >= UInt8(ascii: "0") && self <= UInt8(ascii: "9") }

  var isWordByte: Bool {
    switch self {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "$"), 0x80...:
      true
    default: false
    }
  }
}

extension Character {
  var isASCIIDigit: Bool { self >= "0" && self <= "9" }
}

extension ShaderError {
  init(_ message: String, at offset: Int, in map: SourceMap) {
    let place = map.place(of: offset)
    self.init(message: message, file: place.file, line: place.line, column: place.column)
  }
}
