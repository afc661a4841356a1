/// Declarations that differ only in address spaces. C++ has one address space, so the first one stands for all.
struct Overloads {
  let program: Program
  let kept: Set<Int>

  private var source: Source { program.source }

  /// Places of those that are not to be translated. Throws if one does something else than its twin.
  func duplicates() throws(ShaderError) -> Set<Int> {
    var first: [String: Int] = [:]
    var found: Set<Int> = []
    var owner = -1
    for (place, declaration) in program.declarations.enumerated() {
      if declaration.parent == nil { owner = place }
      guard kept.contains(owner), let key = key(declaration) else { continue }
      guard let twin = first[key] else {
        first[key] = place
        continue
      }
      let other = program.declarations[twin]
      guard hasAddressSpace(declaration) || hasAddressSpace(other) else { continue }
      if let body = declaration.body, let otherBody = other.body,
        meaning(body, declaration) != meaning(otherBody, other)
      {
        let name = declaration.name.map { source.text($0) } ?? ""
        let line = source.line(other.tokens.lowerBound)
        throw source.error(
          "'\(name)' differs from the one at line \(line) in what it does but only in address spaces by its parameters: "
            + "SoftMetal has one address space", at: declaration.name ?? declaration.tokens.lowerBound)
      }
      found.insert(place)
    }
    return found
  }

  private func hasAddressSpace(_ declaration: Declaration) -> Bool {
    declaration.head.contains { source.isAddressSpace($0) }
  }

  /// What a C++ compiler tells declarations apart by; nil for those that may be repeated.
  private func key(_ declaration: Declaration) -> String? {
    let scope = declaration.scope.joined(separator: "::") + "(\(declaration.parent ?? -1))"
    let isMember = declaration.parent != nil
    switch declaration.kind {
    case .function where declaration.body != nil || isMember:
      guard let open = declaration.parameters, let name = declaration.name else { return nil }
      let templates = templateNames(declaration)
      // Templates may differ in what they return, other functions may not.
      let result = declaration.isTemplate ? plain(declaration.start..<name, templates) : ""
      let title = plain(qualified(name, from: declaration.start)..<open, templates)
      let parameters = self.parameters(open).map { plain($0.type, templates) }
      let lists = declaration.templates.map { plain(withoutDefaults($0), templates) }.joined()
      return [scope, lists, result, title, parameters.joined(separator: ","), trailing(declaration)]
        .joined(separator: "|")
    case .type where declaration.body != nil && declaration.name != nil:
      return scope + "|" + plain(declaration.head, templateNames(declaration))
    default: return nil
    }
  }

  // MARK: Parts of a declaration

  /// Where the name begins with the classes before it: `a::b<T>::name`.
  private func qualified(_ name: Int, from start: Int) -> Int {
    var index = name
    while index - 2 >= start, source.isMark(index - 1, "::") {
      index -= 2
      while index > start, !source[index].isWord { index -= 1 }
    }
    return index
  }

  /// The names of a template's parameters, numbered.
  private func templateNames(_ declaration: Declaration) -> [String: String] {
    var names: [String: String] = [:]
    for list in declaration.templates {
      for item in source.listed(list) {
        let words = source.significant(item).prefix { !source.isMark($0, "=") }
        guard let name = words.last, words.count > 1, source[name].isWord else { continue }
        names[source.text(name)] = "$\(names.count)"
      }
    }
    return names
  }

  private func withoutDefaults(_ list: Range<Int>) -> [Int] {
    source.listed(list).flatMap { item in source.significant(item).prefix { !source.isMark($0, "=") } }
  }

  private func parameters(_ open: Int) -> [(type: [Int], name: String?)] {
    // `(…)` has the form of a list of template arguments with other brackets.
    source.listed(open..<source.partner(open) + 1).map { item in
      var words = Array(source.significant(item).prefix { !source.isMark($0, "=") })
      guard let place = words.lastIndex(where: { source[$0].isWord }), place > 0,
        place == words.count - 1 || source.isMark(words[place + 1], "["), !source.isMark(words[place - 1], "::"),
        words[..<place].contains(where: {
          source[$0].isWord && !Source.specifiers.contains(source.text($0)) && !source.isAddressSpace($0)
        })
      else { return (words, nil) }
      let name = words.remove(at: place)
      return (words, source.text(name))
    }
  }

  private func trailing(_ declaration: Declaration) -> String {
    guard let open = declaration.parameters, !program.symbols.isConstructor(declaration) else { return "" }
    var index = source.after(open)
    while index < declaration.tokens.upperBound, !["{", ";", ":", "="].contains(source.text(index)) {
      if source.isWord(index, "const") || source.isWord(index, "constant") { return "const" }
      index = source.after(index)
    }
    return ""
  }

  // MARK: Spelling

  private func plain(_ range: Range<Int>, _ names: [String: String]) -> String {
    plain(source.significant(range), names)
  }

  /// Tokens without address spaces; `const` stands first, once.
  private func plain(_ tokens: [Int], _ names: [String: String]) -> String {
    var words: [String] = []
    var isConst = false
    var hasStar = false
    for index in tokens {
      let word = source.text(index)
      if word == "const" || word == "constant" {
        if hasStar { words.append("const") } else { isConst = true }
      } else if !source.isAddressSpace(index), !["inline", "static", "constexpr"].contains(word) {
        words.append(names[word] ?? word)
        if word == "*" { hasStar = true }
      }
    }
    return (isConst ? "const " : "") + words.joined(separator: " ")
  }

  /// A body's tokens with address spaces left out and parameters numbered.
  private func meaning(_ body: Int, _ declaration: Declaration) -> String {
    var names = templateNames(declaration)
    if let open = declaration.parameters {
      for (index, parameter) in parameters(open).enumerated() {
        if let name = parameter.name { names[name] = "#\(index)" }
      }
    }
    var words: [String] = []
    for index in source.significant(body..<source.after(body)) {
      let word = source.text(index)
      if word == "constant" || word == "const" || source.isAddressSpace(index) { continue }
      words.append(names[word] ?? word)
    }
    return words.joined(separator: " ")
  }
}
