/// One token of preprocessed shader text: what it is, and where it stands in the text's bytes.
struct Token: Sendable {
  enum Kind: Sendable { case word, number, string, character, mark, end }

  let kind: Kind
  let text: String
  let start: Int
  let end: Int

  var isWord: Bool { kind == .word }
  var isMark: Bool { kind == .mark }

  /// What lies beyond the last token.
  static let none = Token(kind: .end, text: "", start: 0, end: 0)
}

/// A line that begins with `#`. Line markers are not kept: they went into the `SourceMap`.
struct Directive: Sendable {
  enum Kind: Sendable { case lineMarker(line: Int, file: String), pragma(String) }

  let kind: Kind
  /// From the `#` to the end of the line, its newline excluded.
  let bytes: Range<Int>
}

/// Tells the shader's file, line and column of a byte of preprocessed text.
struct SourceMap: Sendable {
  private var newlines: [Int] = []
  private var markers: [(offset: Int, line: Int, file: String)] = [(0, 1, "program_source")]

  /// To be called with rising offsets.
  mutating func addNewline(at offset: Int) { newlines.append(offset) }

  /// The text from `offset` on begins at `line` of `file`.
  mutating func addMarker(at offset: Int, line: Int, file: String) { markers.append((offset, line, file)) }

  func place(of offset: Int) -> (file: String, line: Int, column: Int) {
    // The first marker stands at 0, so there is always one before.
    let marker = markers[max(0, Self.count(markers.count) { markers[$0].offset <= offset } - 1)]
    let before = Self.count(newlines.count) { newlines[$0] < offset }
    let beforeMarker = Self.count(newlines.count) { newlines[$0] < marker.offset }
    let lineStart = before == 0 ? 0 : newlines[before - 1] + 1
    return (marker.file, marker.line &+ (before - beforeMarker), offset - lineStart + 1)
  }

  /// How many of the first `count` indices, a prefix, hold.
  private static func count(_ count: Int, where holds: (Int) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if holds(middle) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
