/// Pairs the angle brackets of templates, without knowing which names are templates.
///
/// A `<` behind a word opens a list, and the next `>` of the same statement and bracket closes it. If a list stays open,
/// as the outer one of `enable_if_t<N < 4>`, the statement is gone through once more, now with each `<` in front of a
/// number as a comparison. What is compared in statements may come out as a list too, and does no harm there.
struct AngleMatcher {
  let tokens: [Token]
  let partners: [Int32]

  /// Indices behind the closing `>`, by the index of the `<`.
  func match() -> [Int32] {
    var ends = [Int32](repeating: -1, count: tokens.count)
    // One list of open `<` for each bracket around, and where its statement began.
    var open: [(angles: [Int], start: Int)] = [([], 0)]
    func finish(_ end: Int) {
      guard let last = open.last, !last.angles.isEmpty else { return }
      retry(last.start..<end, &ends)
    }
    for (index, token) in tokens.enumerated() where token.isMark {
      switch token.text {
      case "<":
        if index > 0, tokens[index - 1].isWord { open[open.count - 1].angles.append(index) }
      case ">":
        if let start = open[open.count - 1].angles.popLast() { ends[start] = Int32(truncatingIfNeeded: index + 1) }
      case ";":
        finish(index)
        open[open.count - 1] = ([], index + 1)
      case "(", "[", "{":
        if token.text == "{", index > 0, tokens[index - 1].text == ")" {
          finish(index)
          open[open.count - 1] = ([], index)
        }
        open.append(([], index + 1))
      case ")", "]", "}":
        finish(index)
        if open.count > 1 { open.removeLast() }
      default: break
      }
    }
    while open.count > 0 {
      finish(tokens.count)
      open.removeLast()
    }
    return ends
  }

  private func retry(_ statement: Range<Int>, _ ends: inout [Int32]) {
    var angles: [Int] = []
    var index = statement.lowerBound
    while index < statement.upperBound {
      let token = tokens[index]
      if token.isMark {
        if token.text == "<", index > 0, tokens[index - 1].isWord,
          index + 1 < tokens.count, tokens[index + 1].kind != .number
        {
          angles.append(index)
        } else if token.text == ">", let start = angles.popLast(), ends[start] < 0 {
          ends[start] = Int32(truncatingIfNeeded: index + 1)
        }
      }
      index = max(index, Int(partners[index])) + 1
    }
  }
}
