/// What can be said against a kernel before its constants have values.
extension Program {
  func check(_ entry: Entry) throws(ShaderError) {
    _ = try slots(entry, nil)
    var inputs: [(name: String, type: String, token: Int)] = []
    var seen: Set<String> = []
    for parameter in kernels[entry.kernel].parameters {
      if let condition = parameter.condition { try check(condition, parameter) }
      guard case .input(let name) = parameter.role else { continue }
      guard seen.insert(name).inserted else {
        throw source.error("'\(name)' is used for more than one parameter", at: parameter.token)
      }
      guard let type = type(of: parameter, entry) else { continue }
      if let complaint = BuiltInInputs.complaint(name, type: type) {
        throw source.error(complaint, at: parameter.token)
      }
      inputs.append((name, type, parameter.token))
    }
    if let (input, message) = BuiltInInputs.inconsistency(inputs.map { ($0.name, $0.type) }) {
      throw source.error("kernel '\(entry.name)': \(message)", at: inputs[input].token)
    }
  }

  /// Nil if the type depends on the arguments of the template.
  private func type(of parameter: KernelParameter, _ entry: Entry) -> String? {
    let templates = declaration(of: entry).templates
    let isOpen = parameter.type.contains { index in
      source[index].isWord && templates.contains { $0.contains { source.isWord($0, source.text(index)) } }
    }
    return isOpen ? nil : symbols.typeName(parameter.type)
  }

  /// A condition is one bool: a function constant, or a constant made from some.
  private func check(_ condition: Range<Int>, _ parameter: KernelParameter) throws(ShaderError) {
    let words = source.words(condition)
    func error(_ message: String) -> ShaderError {
      source.error("function_constant of parameter '\(parameter.name)': \(message)", at: condition.lowerBound)
    }
    guard let name = words.last, source[condition.upperBound - 1].isWord,
      words.allSatisfy({ $0 == "::" || source.isIdentifier($0) })
    else { throw error("expected the name of a constant, got '\(words.joined())'") }
    guard let declaration = symbols.single(name, [.variable]) else { throw error("unknown constant '\(name)'") }
    if let constant = constants.first(where: { $0.declared.name == name }), constant.declared.type != .bool {
      throw error("expected a bool, '\(name)' is a \(constant.declared.type.shaderName)")
    }
    let reached = references.reached(from: symbols.byName[name]?.first ?? 0, and: nil)
    guard source.words(declaration.tokens).contains("constant"),
      constants.contains(where: { reached.contains($0.place) })
    else { throw error("'\(name)' is neither a function constant nor made from one") }
  }
}

extension Program {
  /// Variables in memory where functions cannot have them.
  func checkVariables() throws(ShaderError) {
    let kernelPlaces = Set(kernels.map(\.place))
    for (place, declaration) in declarations.enumerated() where declaration.kind == .function {
      let variables = try ThreadgroupVariable.all(in: declaration, source)
      if let first = variables.first, !kernelPlaces.contains(place) {
        throw source.error("a threadgroup variable must be declared in a kernel", at: first.tokens.lowerBound)
      }
      guard let body = declaration.body else { continue }
      try AddressSpaceCheck(source: source, symbols: symbols).check(declaration, body)
      for index in body..<source.partner(body) where source.isWord(index, "device") {
        // `device T name` without a star: a variable where none can be.
        guard ["{", "}", ";", ")"].contains(source.text(index - 1)) else { continue }
        var end = index + 1
        while source[end].isWord || source.isMark(end, "::") { end = source.angleEnd(end + 1) ?? end + 1 }
        if end > index + 2, ["=", ";", "["].contains(source.text(end)) {
          throw source.error("a variable in a function cannot be in the device address space", at: index)
        }
      }
    }
  }
}

extension Source {
  func isIdentifier(_ word: String) -> Bool {
    guard let first = word.utf8.first else { return false }
    return first.isWordByte && !first.isDigit
  }
}
