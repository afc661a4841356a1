/// Finds the declarations of namespaces and classes, and what each declares. Bodies of functions are not looked into.
struct DeclarationScanner {
  let source: Source
  private(set) var declarations: [Declaration] = []

  init(_ source: Source) throws(ShaderError) {
    self.source = source
    try scan(0..<source.count, scope: [], parent: nil)
  }

  private mutating func scan(_ range: Range<Int>, scope: [String], parent: Int?) throws(ShaderError) {
    var index = range.lowerBound
    while index < range.upperBound {
      if source.isMark(index, ";") {
        index += 1
      } else if ["public", "private", "protected"].contains(source.text(index)), source.isMark(index + 1, ":") {
        index += 2
      } else if let (name, open) = namespace(index, range.upperBound) {
        try scan(open + 1..<source.partner(open), scope: scope + [name], parent: nil)
        index = source.after(open)
      } else {
        index = try declaration(index, range.upperBound, scope, parent)
      }
    }
  }

  /// The name and the `{` of `namespace a::b {` or `extern "C" {`.
  private func namespace(_ start: Int, _ end: Int) -> (name: String, open: Int)? {
    var index = start
    if source.isWord(index, "extern"), source[index + 1].kind == .string, source.isMark(index + 2, "{") {
      return ("", index + 2)
    }
    if source.isWord(index, "inline") { index += 1 }
    guard source.isWord(index, "namespace") else { return nil }
    var name = ""
    index += 1
    while index < end, source[index].isWord || source.isMark(index, "::") || source.attribute(at: index) != nil {
      if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
      } else {
        name += source.text(index)
        index += 1
      }
    }
    return index < end && source.isMark(index, "{") ? (name, index) : nil
  }

  // MARK: One declaration

  /// Words whose parentheses are not a function's.
  private static let withOperand: Set = [
    "decltype", "alignas", "noexcept", "explicit", "__attribute__", "__declspec", "typeof", "sizeof", "alignof",
    "static_assert",
  ]

  private mutating func declaration(
    _ start: Int, _ end: Int, _ scope: [String], _ parent: Int?
  ) throws(ShaderError) -> Int {
    var found = Declaration(scope: scope, parent: parent, tokens: start..<end)
    var index = start
    var isClosed = false
    while index < end, !isClosed {
      let token = source[index]
      if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
      } else if token.isWord {
        index = word(index, end, &found)
      } else if token.text == "{", found.initialiser == nil, found.body == nil || found.parameters != nil {
        isClosed = try openBrace(index, &found)
        index = source.after(index)
      } else if token.text == "{", found.initialiser == nil {
        throw source.error("expected ';' after the definition of a type", at: index)
      } else {
        isClosed = token.text == ";"
        index = mark(index, end, &found)
      }
    }
    guard isClosed else {
      throw source.error("expected ';' at the end of the declaration", at: max(start, end - 1))
    }
    found.tokens = start..<index
    classify(&found)
    let place = declarations.count
    declarations.append(found)
    if found.kind == .type, let body = found.body {
      let name = found.name.map { source.text($0) } ?? ""
      try scan(body + 1..<source.partner(body), scope: scope + [name], parent: place)
    }
    return index
  }

  private func word(_ index: Int, _ end: Int, _ found: inout Declaration) -> Int {
    switch source.text(index) {
    case "template":
      guard let after = source.angleEnd(index + 1) else { return index + 1 }
      if found.parameters == nil, found.initialiser == nil { found.templates.append(index + 1..<after) }
      return after
    case "struct", "class", "union", "enum":
      if found.parameters == nil, found.typeKeyword == nil { found.typeKeyword = index }
    case "operator":
      // Its symbol is a name; `operator()` has a pair of parentheses for one.
      if found.initialiser == nil, found.parameters == nil {
        found.name = index
        if source.isMark(index + 1, "("), source.isMark(index + 2, ")") { return index + 3 }
        var next = index + 1
        while next < end, !source.isMark(next, "("), !source.isMark(next, ";") { next += 1 }
        return next
      }
    case let word where Self.withOperand.contains(word) && source.isMark(index + 1, "("):
      return source.after(index + 1)
    default:
      if found.initialiser == nil, let after = source.angleEnd(index + 1) {
        if source.isMark(after, "("), found.parameters == nil { found.name = index }
        return after
      }
    }
    return index + 1
  }

  private func mark(_ index: Int, _ end: Int, _ found: inout Declaration) -> Int {
    switch source.text(index) {
    case "=": found.initialiser = found.initialiser ?? index
    case "(":
      if found.initialiser == nil, found.parameters == nil, found.name != nil || source[index - 1].isWord {
        found.parameters = index
        found.name = found.name ?? index - 1
      }
    case ":" where found.parameters != nil && found.initialiser == nil && found.body == nil:
      return constructorBody(index, end)
    default: break
    }
    return source.after(index)
  }

  /// From a constructor's `:` to the `{` of its body: a `{` right behind a member's name initialises that member.
  private func constructorBody(_ colon: Int, _ end: Int) -> Int {
    var index = colon + 1
    while index < end, !source.isMark(index, ";") {
      if source.isMark(index, "{"), !source[index - 1].isWord, !source.isMark(index - 1, ">") { return index }
      index = source.after(index)
    }
    return index
  }

  /// Whether the declaration ends with this brace's partner.
  private func openBrace(_ index: Int, _ found: inout Declaration) throws(ShaderError) -> Bool {
    if found.parameters != nil {
      guard found.body == nil else { throw source.error("expected ';' after the definition of a type", at: index) }
      found.body = index
      return true
    }
    // `constant int x{3};` or the body of a type.
    if found.typeKeyword != nil { found.body = index }
    return false
  }
}
