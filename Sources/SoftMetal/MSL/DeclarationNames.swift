/// What a declaration is, and the names it declares.
extension DeclarationScanner {
  func classify(_ found: inout Declaration) { Classifier(source: source).classify(&found) }
}

private struct Classifier {
  let source: Source

  func classify(_ found: inout Declaration) {
    let first = source.text(found.start)
    if source.isWord(found.tokens.lowerBound, "template"), found.templates.isEmpty {
      found.kind = .instantiation
    } else if first == "typedef", let keyword = found.typeKeyword, found.body != nil, found.parameters == nil {
      found.kind = source.isWord(keyword, "enum") ? .enumeration : .type
      nameType(&found, keyword)
    } else if first == "using" || first == "namespace" || first == "typedef" {
      classifyAlias(&found, first)
    } else if first == "static_assert" || first == "friend" || first == "_Static_assert" {
      found.kind = .other
    } else if let keyword = found.typeKeyword, found.parameters == nil, found.body != nil || isForward(found) {
      found.kind = found.body == nil ? .other : source.isWord(keyword, "enum") ? .enumeration : .type
      nameType(&found, keyword)
    } else if found.parameters != nil {
      found.kind = .function
      nameFunction(&found)
    } else {
      found.kind = .variable
      found.names = declarators(found.start, found.tokens.upperBound, &found.name)
    }
  }

  /// `struct X;` or `template <> struct X<int>;`
  private func isForward(_ found: Declaration) -> Bool {
    guard let keyword = found.typeKeyword, found.initialiser == nil else { return false }
    var index = keyword + 1
    if source.isWord(index, "class") || source.isWord(index, "struct") { index += 1 }
    while let attribute = source.attribute(at: index) { index = attribute.tokens.upperBound }
    index = source.angleEnd(index + 1) ?? index + 1
    return source.isMark(index, ";") || (source.isMark(index, ":") && source.isWord(keyword, "enum"))
  }

  private func classifyAlias(_ found: inout Declaration, _ keyword: String) {
    let range = found.start + 1..<found.tokens.upperBound - 1
    guard !source.isWord(range.lowerBound, "namespace") else { return }
    found.kind = .alias
    if keyword == "typedef" {
      // The last word, or the one in `(*name)`.
      let words = source.significant(range)
      var name = words.last { source[$0].isWord }
      for index in words where source.isMark(index, "(") && source.isMark(index + 1, "*") && source[index + 2].isWord {
        name = index + 2
        break
      }
      // The dimensions of `typedef float row[width]` are not its name.
      if let open = words.last, source.isMark(open, "]") {
        var bracket = source.partner(open)
        while source.isMark(bracket - 1, "]") { bracket = source.partner(bracket - 1) }
        name = bracket - 1
      }
      found.name = name
    } else if found.initialiser != nil {
      found.name = source[range.lowerBound].isWord ? range.lowerBound : nil
    } else {
      found.name = range.upperBound > range.lowerBound ? range.upperBound - 1 : nil
    }
    found.names = found.name.map { [source.text($0)] } ?? []
  }

  private func nameType(_ found: inout Declaration, _ keyword: Int) {
    var index = keyword + 1
    if source.isWord(keyword, "enum"), ["class", "struct"].contains(source.text(index)) { index += 1 }
    while true {
      if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
      } else if ["alignas", "__attribute__", "__declspec"].contains(source.text(index)), source.isMark(index + 1, "(") {
        index = source.after(index + 1)
      } else {
        break
      }
    }
    if source[index].isWord {
      found.name = index
      found.names.append(source.text(index))
    }
    guard let body = found.body else { return }
    if found.kind == .enumeration { found.names += enumerators(body) }
    var declarator: Int?
    let own = found.names
    found.names += declarators(source.after(body), found.tokens.upperBound, &declarator).filter { !own.contains($0) }
    if source.isWord(found.start, "typedef") { found.name = declarator ?? found.name }
  }

  func enumerators(_ body: Int) -> [String] {
    var names: [String] = []
    var index = body + 1
    var expectsName = true
    while index < source.partner(body) {
      if expectsName, source[index].isWord {
        names.append(source.text(index))
        expectsName = false
      } else if source.isMark(index, ",") {
        expectsName = true
      }
      index = source.after(index)
    }
    return names
  }

  private func nameFunction(_ found: inout Declaration) {
    guard let name = found.name else { return }
    found.names = [source.text(name)]
    // A member defined outside of its class goes with the class.
    var index = name
    while source.isMark(index - 1, "::") {
      var owner = index - 2
      if source.isMark(owner, ">") {
        while owner > found.start, !source.isMark(owner, "<") { owner -= 1 }
        owner -= 1
      }
      guard owner >= found.start, source[owner].isWord else { return }
      found.names.append(source.text(owner))
      index = owner
    }
  }

  /// The names in `T a = …, *b, c[3];`: words in front of what can follow a declarator.
  private func declarators(_ start: Int, _ end: Int, _ first: inout Int?) -> [String] {
    var names: [String] = []
    var index = start
    var isInitialised = false
    while index < end {
      if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
        continue
      }
      if source.isMark(index, ",") { isInitialised = false }
      if source.isMark(index, "=") { isInitialised = true }
      if source[index].isWord, !isInitialised {
        var next = index + 1
        while let attribute = source.attribute(at: next) { next = attribute.tokens.upperBound }
        if next >= end || ["=", ",", ";", "[", "{", ":"].contains(source.text(next)) {
          names.append(source.text(index))
          first = first ?? index
        }
        index = source.angleEnd(index + 1) ?? index + 1
      } else {
        index = source.after(index)
      }
    }
    return names
  }
}
