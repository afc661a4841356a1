/// The tokens of a shader with the structure that needs no knowledge of declarations: brackets and attributes.
///
/// Every index is allowed in every question: beyond the text stands `Token.none`.
struct Source: Sendable {
  let bytes: [UInt8]
  let tokens: [Token]
  let directives: [Directive]
  let map: SourceMap
  let languageVersion: MTLLanguageVersion
  /// For each bracket the index of its partner, -1 for other tokens.
  private let partners: [Int32]
  /// For each `<` that opens a list of template arguments the index behind its `>`, -1 for other tokens.
  private let angleEnds: [Int32]
  /// `[[…]]`, in the order of the text.
  let attributes: [Attribute]
  /// For each token that opens an attribute its place in `attributes`.
  private let attributeStarts: [Int: Int]

  /// Brackets nest no deeper: whatever walks them by recursion stays within its stack.
  static let maximumDepth = 256

  init(text: String, languageVersion: MTLLanguageVersion) throws(ShaderError) {
    let lexer = try Lexer(Array(text.utf8))
    bytes = Array(text.utf8)
    tokens = lexer.tokens
    directives = lexer.directives
    map = lexer.map
    self.languageVersion = languageVersion
    let partners = try Self.match(lexer.tokens, lexer.map)
    self.partners = partners
    angleEnds = AngleMatcher(tokens: lexer.tokens, partners: partners).match()
    let attributes = try Attribute.all(in: lexer.tokens, partners: partners, map: lexer.map)
    self.attributes = attributes
    attributeStarts = Dictionary(attributes.indices.map { (attributes[$0].tokens.lowerBound, $0) }) { first, _ in first
    }
  }

  var count: Int { tokens.count }

  subscript(_ index: Int) -> Token { tokens.indices.contains(index) ? tokens[index] : .none }

  func text(_ index: Int) -> String { self[index].text }

  func isMark(_ index: Int, _ mark: String) -> Bool { self[index].isMark && self[index].text == mark }

  func isWord(_ index: Int, _ word: String) -> Bool { self[index].isWord && self[index].text == word }

  /// The other one of a pair of brackets; the index itself for other tokens.
  func partner(_ index: Int) -> Int {
    guard partners.indices.contains(index), partners[index] >= 0 else { return index }
    return Int(partners[index])
  }

  /// Where the text goes on after the token at `index`, brackets and what they enclose taken as one.
  func after(_ index: Int) -> Int { max(partner(index), index) + 1 }

  /// The attribute that begins at `index`.
  func attribute(at index: Int) -> Attribute? { attributeStarts[index].map { attributes[$0] } }

  func error(_ message: String, at index: Int) -> ShaderError {
    ShaderError(message, at: tokens.isEmpty ? 0 : tokens[min(max(index, 0), tokens.count - 1)].start, in: map)
  }

  func line(_ index: Int) -> Int { map.place(of: self[index].start).line }

  /// Tokens joined by spaces, without attributes.
  func joined(_ range: Range<Int>) -> String { words(range).joined(separator: " ") }

  /// Tokens' texts, without attributes.
  func words(_ range: Range<Int>) -> [String] { significant(range).map { text($0) } }

  /// Indices of tokens that belong to no attribute.
  func significant(_ range: Range<Int>) -> [Int] {
    var found: [Int] = []
    var index = range.lowerBound
    while index < range.upperBound {
      if let attribute = attribute(at: index) {
        index = attribute.tokens.upperBound
      } else {
        found.append(index)
        index += 1
      }
    }
    return found
  }

  // MARK: Brackets

  private static func match(_ tokens: [Token], _ map: SourceMap) throws(ShaderError) -> [Int32] {
    let closing = ["(": ")", "[": "]", "{": "}"]
    var partners = [Int32](repeating: -1, count: tokens.count)
    var open: [Int] = []
    for (index, token) in tokens.enumerated() where token.isMark {
      switch token.text {
      case "(", "[", "{":
        open.append(index)
        guard open.count <= maximumDepth else {
          throw ShaderError("brackets are nested deeper than \(maximumDepth)", at: token.start, in: map)
        }
      case ")", "]", "}":
        guard let opener = open.popLast() else {
          throw ShaderError("extraneous closing '\(token.text)'", at: token.start, in: map)
        }
        let expected = closing[tokens[opener].text] ?? ""
        guard expected == token.text else {
          let place = map.place(of: token.start)
          throw ShaderError(
            "expected '\(expected)' to match this '\(tokens[opener].text)', got '\(token.text)' at "
              + "\(place.line):\(place.column)", at: tokens[opener].start, in: map)
        }
        partners[opener] = Int32(truncatingIfNeeded: index)
        partners[index] = Int32(truncatingIfNeeded: opener)
      default: break
      }
    }
    if let opener = open.last {
      throw ShaderError("'\(tokens[opener].text)' is never closed", at: tokens[opener].start, in: map)
    }
    return partners
  }

  /// Index behind the `>` that closes the `<` at `index`; nil if that `<` opens no list of template arguments.
  func angleEnd(_ index: Int) -> Int? {
    guard angleEnds.indices.contains(index), angleEnds[index] >= 0 else { return nil }
    return Int(angleEnds[index])
  }
}
