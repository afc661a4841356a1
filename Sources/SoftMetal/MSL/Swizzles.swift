/// Swizzles of vectors: `v.zyx` is no member in C++.
enum Swizzles {
  private static let families: [[Character: Int]] = [
    ["x": 0, "y": 1, "z": 2, "w": 3], ["r": 0, "g": 1, "b": 2, "a": 3],
  ]

  /// The components of a swizzle, as template arguments; nil for any other word. A single component is a member.
  static func components(_ word: String) -> String? {
    guard (2...4).contains(word.utf8.count) else { return nil }
    for family in families {
      let indices = word.compactMap { family[$0] }
      if indices.count == word.count { return indices.map(String.init).joined(separator: ", ") }
    }
    return nil
  }

  static let assignments: Set = ["=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="]
}

extension Source {
  /// Where the expression begins whose member is taken by the `.` or `->` at `dot`.
  ///
  /// - Parameter known: answers to the same question, by the `.` or `->`.
  func postfixStart(_ dot: Int, known: [Int: Int] = [:]) -> Int {
    var index = dot
    while true {
      let last = index - 1
      if isMark(last, ")") || isMark(last, "]") {
        index = partner(last)
        // What a call or a subscript applies to is a part of it; a keyword or an operator in front is not.
        let before = self[index - 1]
        let goesOn = (before.isWord && !Self.statementWords.contains(before.text)) || [")", "]"].contains(before.text)
        if goesOn { continue }
        if before.text == ">", let open = angleStart(index - 1) {
          index = open
          continue
        }
        return index
      }
      guard self[last].isWord else { return index }
      index = last
      guard isMark(index - 1, ".") || isMark(index - 1, "->") || isMark(index - 1, "::") else { return index }
      index -= 1
      if let start = known[index] { return start }
    }
  }

  private static let statementWords: Set = ["return", "if", "while", "for", "switch", "case", "else", "do"]

  /// The `<` that the `>` at `close` belongs to.
  private func angleStart(_ close: Int) -> Int? {
    var index = close - 1
    while index > max(0, close - 256) {
      if isMark(index, "<"), angleEnd(index) == close + 1 { return index }
      if [";", "{", "}"].contains(text(index)) { return nil }
      index = partner(index) < index ? partner(index) - 1 : index - 1
    }
    return nil
  }
}
