/// `threadgroup T name[n], other;` in the body of a function: memory that the threads of a threadgroup share.
struct ThreadgroupVariable {
  struct Declarator {
    let name: Int
    /// Tokens of `[n][m]`.
    let dimensions: [Int]
  }

  /// The whole statement, `;` included.
  let tokens: Range<Int>
  let type: [Int]
  let declarators: [Declarator]

  static func all(in function: Declaration, _ source: Source) throws(ShaderError) -> [ThreadgroupVariable] {
    guard let body = function.body else { return [] }
    var found: [ThreadgroupVariable] = []
    var index = body + 1
    while index < source.partner(body) {
      if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
      } else if source.isWord(index, "threadgroup"), let variable = try variable(index, source) {
        found.append(variable)
        index = variable.tokens.upperBound
      } else {
        index += 1
      }
    }
    return found
  }

  private static let before: Set = ["{", "}", ";", ")", ":", "static", "const", "constexpr", "volatile"]

  /// Nil if the word belongs to something else: a pointer, a cast, a template's argument.
  private static func variable(_ word: Int, _ source: Source) throws(ShaderError) -> ThreadgroupVariable? {
    guard before.contains(source.text(word - 1)) else { return nil }
    var start = word
    while source[start - 1].isWord, before.contains(source.text(start - 1)) { start -= 1 }
    var words: [Int] = []
    var index = start
    while index < source.count, !source.isMark(index, ";") {
      if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
      } else if source.isMark(index, "*") || source.isMark(index, "&") || source.isMark(index, "(") {
        return nil
      } else if source.isWord(index, "alignas") {
        index = source.after(index + 1)  // every slot is aligned for the widest vector
      } else if source.isMark(index, "=") || source.isMark(index, "{") {
        throw source.error("a threadgroup variable cannot have an initialiser", at: index)
      } else if ["}", ")", "]"].contains(source.text(index)) {
        return nil
      } else {
        let after = source.angleEnd(index) ?? source.after(index)
        words += index..<after
        index = after
      }
    }
    return try split(words, start..<index + 1, source)
  }

  private static func split(
    _ words: [Int], _ tokens: Range<Int>, _ source: Source
  ) throws(ShaderError) -> ThreadgroupVariable {
    // The first declarator's name is what stands in front of the first `[` or `,`, or last.
    var depth = 0
    var first = words.count - 1
    for (place, index) in words.enumerated() {
      if source.isMark(index, "<") { depth += 1 }
      if source.isMark(index, ">") { depth -= 1 }
      if depth <= 0, place > 0, source.isMark(index, "[") || source.isMark(index, ",") {
        first = place - 1
        break
      }
    }
    let type = words[..<max(0, first)].filter { index in
      !["static", "threadgroup", "constexpr", "volatile"].contains(source.text(index))
    }
    var declarators: [Declarator] = []
    var place = max(0, first)
    while place < words.count {
      let name = words[place]
      guard source[name].isWord else { break }
      place += 1
      var dimensions: [Int] = []
      while place < words.count, !source.isMark(words[place], ",") {
        dimensions.append(words[place])
        place += 1
      }
      declarators.append(Declarator(name: name, dimensions: dimensions))
      place += 1
    }
    guard !type.isEmpty, !declarators.isEmpty else {
      throw source.error("expected the type and name of a threadgroup variable", at: tokens.lowerBound)
    }
    return ThreadgroupVariable(tokens: tokens, type: type, declarators: declarators)
  }
}
