/// Which names in a function may lie in, or point into, threadgroup memory. One too many costs time, none too few.
struct ThreadgroupNames {
  /// Whether assigning to the name itself stores to threadgroup memory, as it does not for a pointer.
  enum Meaning: Sendable { case pointer, place }

  private let source: Source
  private(set) var names: [String: Meaning] = [:]
  /// Those of the class around, which all its functions share.
  private let outer: [String: Meaning]
  /// Aliases of types that point to threadgroup memory.
  private let aliases: Set<String>

  init(source: Source, aliases: Set<String>, outer: [String: Meaning] = [:]) {
    self.source = source
    self.aliases = aliases
    self.outer = outer
  }

  subscript(_ name: String) -> Meaning? { names[name] == .place ? .place : outer[name] ?? names[name] }

  mutating func add(_ name: String, _ meaning: Meaning) {
    if names[name] != .place { names[name] = meaning }
  }

  /// Aliases in the text whose target has the word `threadgroup`.
  static func aliases(_ symbols: Symbols) -> Set<String> {
    var found: Set<String> = []
    for declaration in symbols.declarations where declaration.kind == .alias {
      if declaration.tokens.contains(where: { symbols.source.isWord($0, "threadgroup") }) {
        found.formUnion(declaration.names)
      }
    }
    return found
  }

  /// Members of all classes that are declared so.
  static func members(_ symbols: Symbols, aliases: Set<String>) -> [String: Meaning] {
    var names = ThreadgroupNames(source: symbols.source, aliases: aliases)
    for declaration in symbols.declarations where declaration.parent != nil && declaration.kind == .variable {
      names.collect(declaration.tokens)
    }
    return names.names
  }

  /// Names that the tokens declare with `threadgroup`, with an alias of such a type, or with `auto` from one of them.
  mutating func collect(_ tokens: Range<Int>) {
    var autos: [Int] = []
    var walked: Set<Int> = []
    var index = tokens.lowerBound
    while index < tokens.upperBound {
      if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
        continue
      }
      if source[index].isWord {
        let word = source.text(index)
        if word == "threadgroup" {
          if !walked.contains(index) { declarators(index + 1, tokens.upperBound, &walked) }
        } else if word == "auto" {
          autos.append(index)
        } else if aliases.contains(word), !source.isMember(index) {
          if !walked.contains(index) { declarators(index, tokens.upperBound, &walked) }
        }
      }
      index += 1
    }
    // What an `auto` is made of may itself be one.
    for _ in 0..<2 {
      var (statementEnd, last) = (0, 0)
      for index in autos {
        if index >= statementEnd { (statementEnd, last) = statement(index, tokens.upperBound) }
        addAuto(index, last)
      }
    }
  }

  /// Among these tokens, parameters and members whose type is nothing but a template's parameter may be pointers of any kind.
  mutating func collectOpen(_ tokens: Range<Int>, templates: [Range<Int>]) {
    var types: Set<String> = []
    for list in templates {
      for item in source.listed(list) {
        let words = source.words(item)
        if let first = words.first, first == "typename" || first == "class", words.count > 1 { types.insert(words[1]) }
      }
    }
    guard !types.isEmpty else { return }
    for index in tokens where source[index].isWord && types.contains(source.text(index)) && source[index + 1].isWord {
      let before = source.text(index - 1)
      let after = source.text(index + 2)
      if ["(", ",", ";", "{", "}", ":", "const"].contains(before), [",", ")", "=", ";"].contains(after) {
        add(source.text(index + 1), .pointer)
      }
    }
  }

  /// Where the statement around a word ends, and where it has its last name of these.
  private func statement(_ word: Int, _ end: Int) -> (end: Int, last: Int) {
    var index = word
    var last = 0
    while index < end, !source.isMark(index, ";") {
      if source[index].isWord, self[source.text(index)] != nil || source.isWord(index, "threadgroup") { last = index }
      index += 1
    }
    return (index, last)
  }

  /// - Parameter last: where the statement names such memory for the last time.
  private mutating func addAuto(_ word: Int, _ last: Int) {
    var name = word + 1
    var isReference = false
    while source.isMark(name, "*") || source.isMark(name, "&") || source.isMark(name, "&&")
      || source.isWord(name, "const")
    {
      if source.text(name).hasPrefix("&") { isReference = true }
      name += 1
    }
    guard source[name].isWord, source.isMark(name + 1, "="), last > name + 1 else { return }
    add(source.text(name), isReference ? .place : .pointer)
  }

  /// The names behind `threadgroup`, up to the end of the declaration, parameter, or cast.
  ///
  /// - Parameter walked: receives the words that need not be begun with again.
  private mutating func declarators(_ start: Int, _ end: Int, _ walked: inout Set<Int>) {
    var index = start
    var previous: Int?
    var isPointer = false
    var isReference = false
    var words = 0
    func isNamed() -> Bool { words > 1 || (isPointer || isReference) && words > 0 }
    while index < end {
      if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
        continue
      }
      let token = source[index]
      if token.isWord {
        if !Source.specifiers.contains(token.text), !source.isAddressSpace(index) {
          words += 1
          previous = index
        }
        walked.insert(index)
        index = source.angleEnd(index + 1) ?? index + 1
        if index > (previous ?? index) + 1 { previous = nil }
        continue
      }
      switch token.text {
      case "*": isPointer = true
      case "&": isReference = true
      case "::":
        words -= 1
      case "(":
        // `threadgroup T (&name)[4]`
        for inner in index..<source.partner(index) where source[inner].isWord { add(source.text(inner), .place) }
        return
      case "[":
        if let previous, isNamed() { add(source.text(previous), isPointer ? .pointer : .place) }
        previous = nil
        index = source.after(index)
        continue
      default:
        if let previous, isNamed() { add(source.text(previous), isPointer && !isReference ? .pointer : .place) }
        guard token.text == ",", !isParameter(start) else { return }
        previous = nil
      }
      index += 1
    }
  }

  /// Whether the tokens stand between parentheses, where a comma ends a declaration.
  private func isParameter(_ index: Int) -> Bool {
    var before = index - 2
    while source[before].isWord { before -= 1 }
    return source.isMark(before, "(") || source.isMark(before, ",") || source.isMark(before, "<")
  }
}
