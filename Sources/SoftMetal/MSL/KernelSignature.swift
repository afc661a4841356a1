/// One parameter of a kernel, as declared.
struct KernelParameter: Sendable {
  enum Role: Sendable, Equatable {
    case buffer(isWritten: Bool)
    case threadgroup
    /// A built-in input, by its attribute's name.
    case input(String)
  }

  let role: Role
  let name: String
  let isReference: Bool
  /// Tokens of the type pointed to, or of the input's type.
  let type: [Int]
  /// The index in `[[buffer(index)]]`; nil if it is left to be numbered.
  let slot: Range<Int>?
  /// The condition in `[[function_constant(condition)]]`.
  let condition: Range<Int>?
  /// Where to point when something is wrong with it.
  let token: Int
}

/// Reads the parameters of kernels.
struct KernelSignatureParser {
  let source: Source
  let symbols: Symbols

  func parameters(of kernel: Declaration) throws(ShaderError) -> [KernelParameter] {
    guard let open = kernel.parameters else { return [] }
    var found: [KernelParameter] = []
    let close = source.partner(open)
    var start = open + 1
    var index = start
    while index <= close {
      if index == close || source.isMark(index, ",") {
        let isVoid = source.isWord(start, "void") && index == start + 1
        if start < index, !isVoid {
          found.append(try parameter(start..<index))
        } else if !(open + 1 == close) && !isVoid {
          throw source.error("expected a parameter", at: index)
        }
        start = index + 1
        index += 1
      } else if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
      } else {
        index = source.angleEnd(index) ?? source.after(index)
      }
    }
    return found
  }

  private func parameter(_ range: Range<Int>) throws(ShaderError) -> KernelParameter {
    let items = source.attributes(in: range).flatMap(\.items)
    let words = source.significant(range)
    guard let first = words.first else { throw source.error("expected a parameter", at: range.lowerBound) }
    guard !words.contains(where: { source.isMark($0, "=") }) else {
      throw source.error("a kernel's parameter cannot have a default value", at: first)
    }
    // The name is the last word outside of the brackets of an array's dimensions.
    let beforeArray = words.firstIndex { source.isMark($0, "[") } ?? words.count
    let token = words[..<beforeArray].last { source[$0].isWord } ?? first
    let name = source.text(token)
    for item in items where !item.hasPrefix {
      if BuiltInInputs.unsupported.contains(item.name) {
        throw source.error("'\(item.name)' is not supported by SoftMetal", at: item.token)
      }
      guard Self.known.contains(item.name) || BuiltInInputs.contains(item.name) else {
        throw source.error("unknown attribute '\(item.name)' of parameter '\(name)'", at: item.token)
      }
    }
    if let input = items.first(where: { BuiltInInputs.contains($0.name) }) {
      return try self.input(input, items, words, token)
    }
    return try memory(items, words, token)
  }

  private static let known: Set = [
    "buffer", "threadgroup", "function_constant", "maybe_unused", "access", "coherent", "id", "user",
  ]

  private func input(
    _ item: Attribute.Item, _ items: [Attribute.Item], _ words: [Int], _ token: Int
  ) throws(ShaderError) -> KernelParameter {
    guard !words.contains(where: { source.isMark($0, "*") || source.isMark($0, "&") || source.isMark($0, "[") }) else {
      throw source.error("'\(item.name)' is a value: expected no pointer, reference or array", at: token)
    }
    guard words.count > 1 else { throw source.error("expected a type and a name", at: token) }
    guard item.arguments == nil else { throw source.error("'\(item.name)' takes no argument", at: item.token) }
    return KernelParameter(
      role: .input(item.name), name: source.text(token), isReference: false, type: Array(words.dropLast()), slot: nil,
      condition: try argument("function_constant", items), token: item.token)
  }

  private func memory(
    _ items: [Attribute.Item], _ given: [Int], _ token: Int
  ) throws(ShaderError) -> KernelParameter {
    let name = source.text(token)
    let words = spelledOut(given)
    try refuseUnsupported(words, name, token)
    // `constant int strides[3]` is a pointer too: the name ends its type.
    let array = words.lastIndex { $0 == token }.flatMap {
      $0 + 1 < words.count && source.isMark(words[$0 + 1], "[") ? $0 : nil
    }
    let outermost = words.lastIndex { source.isMark($0, "*") || source.isMark($0, "&") }
    guard let declarator = outermost ?? array else {
      let hint =
        items.isEmpty
        ? "expected an attribute such as [[thread_position_in_grid]]" : "expected a pointer or a reference"
      throw source.error("parameter '\(name)' of a kernel: \(hint)", at: token)
    }
    // What the outermost pointer points to lies in the space named before it.
    let type = Array(words[..<declarator])
    let isReference = source.isMark(words[declarator], "&")
    guard !type.contains(where: { source.isMark($0, "*") || source.isMark($0, "&") || source.isMark($0, "(") }) else {
      throw source.error(
        "parameter '\(name)': pointers to pointers are not supported by SoftMetal", at: token)
    }
    guard outermost == nil || array == nil else {
      throw source.error("parameter '\(name)': arrays of buffers are not supported by SoftMetal", at: token)
    }
    let spaces = type.filter { source.isAddressSpace($0) }.map { source.text($0) }
    guard let space = spaces.first, Set(spaces).count == 1, ["device", "constant", "threadgroup"].contains(space) else {
      throw source.error(
        "parameter '\(name)': a kernel's pointer must be to the device, constant or threadgroup address space",
        at: token)
    }
    let spelling = symbols.typeName(type)
    guard spelling != "void" || !isReference else {
      throw source.error("parameter '\(name)': a reference to void", at: token)
    }
    let isThreadgroup = space == "threadgroup"
    let wrong = isThreadgroup ? "buffer" : "threadgroup"
    if let item = items.first(where: { $0.name == wrong }) {
      throw source.error("parameter '\(name)': '\(wrong)' does not fit the address space '\(space)'", at: item.token)
    }
    let isRead = space == "constant" || type.contains { source.isWord($0, "const") }
    return KernelParameter(
      role: isThreadgroup ? .threadgroup : .buffer(isWritten: !isRead), name: name, isReference: isReference,
      type: type,
      slot: try argument(isThreadgroup ? "threadgroup" : "buffer", items),
      condition: try argument("function_constant", items), token: token)
  }

  /// A parameter whose type is an alias of a pointer, with the alias followed.
  private func spelledOut(_ words: [Int]) -> [Int] {
    var words = words
    for _ in 0..<16 {
      guard !words.contains(where: { source.isAddressSpace($0) }),
        let place = words.firstIndex(where: { source[$0].isWord && symbols.single(source.text($0), [.alias]) != nil }),
        let alias = symbols.single(source.text(words[place]), [.alias]), let target = symbols.aliased(alias)
      else { break }
      words.replaceSubrange(place...place, with: target)
    }
    return words
  }

  private func refuseUnsupported(_ words: [Int], _ name: String, _ token: Int) throws(ShaderError) {
    for index in words where source[index].isWord {
      let word = source.text(index)
      if let what = Restrictions.unsupportedType(word), symbols.byName[word] == nil, index != token {
        throw source.error("parameter '\(name)': \(what) are not supported by SoftMetal", at: index)
      }
      if word == "array", source.isMark(index + 1, "<"), !words.contains(where: { source.isMark($0, "&") }) {
        throw source.error("parameter '\(name)': arrays of resources are not supported by SoftMetal", at: index)
      }
    }
  }

  /// The tokens in `name(…)`.
  private func argument(_ name: String, _ items: [Attribute.Item]) throws(ShaderError) -> Range<Int>? {
    guard let item = items.first(where: { $0.name == name && !$0.hasPrefix }) else { return nil }
    guard let arguments = item.arguments, !arguments.isEmpty else {
      throw source.error("attribute '\(name)': expected an argument in parentheses", at: item.token)
    }
    return arguments
  }
}

extension Source {
  /// The attributes within a range.
  func attributes(in range: Range<Int>) -> [Attribute] {
    var found: [Attribute] = []
    var index = range.lowerBound
    while index < range.upperBound {
      if let attribute = attribute(at: index) {
        found.append(attribute)
        index = attribute.tokens.upperBound
      } else {
        index += 1
      }
    }
    return found
  }
}
