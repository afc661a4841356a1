/// Finds pointers that change their address space on the way from one name to another.
///
/// A translation has no address spaces, so a compiler would not object. Types are not computed: what is found are
/// declarations, casts and calls that take a plain name, where that name has one meaning throughout the function.
struct AddressSpaceCheck {
  let source: Source
  let symbols: Symbols

  private struct Names {
    var spaces: [String: String] = [:]
    /// Tokens that declare a name.
    var places: Set<Int> = []
  }

  func check(_ function: Declaration, _ body: Int) throws(ShaderError) {
    let range = function.start..<source.after(body)
    let names = collect(range)
    guard !names.spaces.isEmpty else { return }
    for index in range where source[index].isMark {
      if source.text(index) == "=", names.places.contains(index - 1), let space = pointer(index - 1) {
        try compare(
          space, with: self.space(index + 1, names), at: index - 1, "initialising '\(source.text(index - 1))'")
      } else if source.text(index) == "(" {
        if let space = cast(index) {
          try compare(space, with: self.space(source.after(index), names), at: index, "casting")
        } else if source.isMember(index - 1) {
          try checkMethod(index - 1, names)
        } else if source[index - 1].isWord, !names.places.contains(index - 1) {
          try checkCall(index, names)
        }
      }
    }
  }

  private func compare(_ to: String, with from: String?, at index: Int, _ what: String) throws(ShaderError) {
    guard let from, from != to else { return }
    throw source.error("\(what): a pointer to \(from) memory cannot become one to \(to) memory", at: index)
  }

  // MARK: Names

  private func collect(_ range: Range<Int>) -> Names {
    var names = Names()
    var ambiguous: Set<String> = []
    func add(_ index: Int, _ space: String) {
      let name = source.text(index)
      if let other = names.spaces[name], other != space { ambiguous.insert(name) }
      names.spaces[name] = space
      names.places.insert(index)
    }
    var index = range.lowerBound
    while index < range.upperBound {
      if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
        continue
      }
      if source.isAddressSpace(index), let name = declared(index) {
        add(name, source.text(index))
      } else if MTLDataType(shaderName: source.text(index)) != nil, source[index + 1].isWord,
        !source.isAddressSpace(index - 1), ["=", ";", "[", ","].contains(source.text(index + 2))
      {
        add(index + 1, "thread")
      }
      index += 1
    }
    // Any other declaration of the name makes it mean two things.
    for index in range
    where source[index].isWord && !names.places.contains(index) && names.spaces[source.text(index)] != nil {
      let before = source[index - 1]
      let isDeclared = before.isWord && !["return", "else", "case", "do"].contains(before.text)
      if isDeclared || (before.text == ">" || before.text == "&&") && source.isMark(index + 1, "=") {
        ambiguous.insert(source.text(index))
      }
    }
    for name in ambiguous { names.spaces[name] = nil }
    return names
  }

  /// The name in `device T *name`, `threadgroup T name[4]`; nil for casts and the like.
  private func declared(_ space: Int) -> Int? {
    var index = space + 1
    var last: Int?
    var words = 0
    while true {
      let token = source[index]
      if token.isWord {
        guard !source.isAddressSpace(index) else { return nil }
        if !Source.specifiers.contains(token.text) { words += 1 }
        last = index
        index += 1
        if let after = source.angleEnd(index) { index = after }
      } else if token.isMark, ["*", "&", "::"].contains(token.text) {
        last = nil
        index += 1
      } else {
        break
      }
    }
    guard let last, words > 1, ["=", ";", ",", ")", "[", ":"].contains(source.text(index)) || source[index].text == "["
    else {
      return nil
    }
    // Several stars: what the name's own space is, is written elsewhere.
    let stars = (space..<last).filter { source.isMark($0, "*") || source.isMark($0, "&") }.count
    return stars <= 1 && index == last + 1 ? last : nil
  }

  /// The space that the pointer declared by this token points to; nil for anything but a pointer.
  private func pointer(_ name: Int) -> String? {
    guard source.isMark(name - 1, "*") || (source.isMark(name - 2, "*") && source.isWord(name - 1, "const")) else {
      return nil
    }
    var index = name - 1
    while index > 0, !source.isAddressSpace(index), ![";", "{", "}", "(", ")", ","].contains(source.text(index)) {
      index -= 1
    }
    return source.isAddressSpace(index) ? source.text(index) : nil
  }

  /// The space in `(device T *)`.
  private func cast(_ open: Int) -> String? {
    let close = source.partner(open)
    let words = source.significant(open + 1..<max(open + 1, close))
    let spaces = words.filter { source.isAddressSpace($0) }
    guard spaces.count == 1, words.filter({ source.isMark($0, "*") }).count == 1, source.isMark(close - 1, "*"),
      !words.contains(where: { source.isMark($0, ",") || source.isMark($0, "(") })
    else { return nil }
    return source.text(spaces[0])
  }

  // MARK: Expressions

  /// The space that `name`, `name + …`, `&name`, `&name[…]` or a cast points to.
  private func space(_ start: Int, _ names: Names) -> String? {
    if source.isMark(start, "(") { return cast(start) }
    let isAddress = source.isMark(start, "&")
    let name = isAddress ? start + 1 : start
    guard source[name].isWord, let space = names.spaces[source.text(name)] else { return nil }
    var next = name + 1
    if isAddress {
      // The address of a pointer is in the thread's memory, wherever it points.
      if source.isMark(next, "[") { next = source.after(next) } else if space != "thread" { return nil }
    }
    let end = source.text(next)
    return [";", ",", ")"].contains(end) || (!isAddress && (end == "+" || end == "-")) ? space : nil
  }

  private func checkCall(_ open: Int, _ names: Names) throws(ShaderError) {
    let name = source.text(open - 1)
    guard symbols.byName[name]?.count == 1, let function = symbols.single(name, [.function]),
      !function.isTemplate, let parameters = function.parameters
    else { return }
    let list = source.listed(parameters..<source.partner(parameters) + 1)
    for (argument, parameter) in zip(source.listed(open..<source.partner(open) + 1), list) {
      let words = source.significant(parameter)
      let spaces = words.filter { source.isAddressSpace($0) }
      guard spaces.count == 1, words.filter({ source.isMark($0, "*") }).count == 1 else { continue }
      try compare(
        source.text(spaces[0]), with: space(argument.lowerBound, names), at: argument.lowerBound, "calling '\(name)'")
    }
  }

  /// `object.method()`: a method says behind its parameters which objects it is for.
  private func checkMethod(_ method: Int, _ names: Names) throws(ShaderError) {
    let object = method - 2
    guard source[object].isWord, !source.isMember(object), let space = names.spaces[source.text(object)] else { return }
    guard let places = symbols.members[source.text(method)], places.count == 1,
      case let known = symbols.declarations[places[0]], known.kind == .function, let open = known.parameters
    else { return }
    var index = source.after(open)
    while index < known.tokens.upperBound, !["{", ";", "="].contains(source.text(index)) {
      if source.isAddressSpace(index), source.text(index) != space {
        throw source.error(
          "'\(source.text(method))' is for objects in \(source.text(index)) memory, '\(source.text(object))' is in "
            + "\(space) memory", at: method)
      }
      index += 1
    }
  }
}
