/// Finds the kernels, and the names by which they can be asked for.
struct EntryReader {
  let source: Source
  let symbols: Symbols

  // MARK: Kernels

  func kernels() throws(ShaderError) -> [Program.Kernel] {
    var found: [Program.Kernel] = []
    for (place, declaration) in symbols.declarations.enumerated() {
      guard declaration.kind == .function, let mark = kernelMark(declaration), let name = declaration.name else {
        continue
      }
      try checkShape(declaration, mark, name)
      guard declaration.body != nil else { continue }
      let parameters = try KernelSignatureParser(source: source, symbols: symbols).parameters(of: declaration)
      found.append(Program.Kernel(place: place, parameters: parameters))
    }
    return found
  }

  /// The word `kernel` or the attribute, in front of the parameters.
  private func kernelMark(_ declaration: Declaration) -> Int? {
    let head = declaration.start..<(declaration.parameters ?? declaration.start)
    if let word = source.significant(head).first(where: { source.isWord($0, "kernel") }) { return word }
    return attribute("kernel", head)?.token
  }

  private func attribute(_ name: String, _ range: Range<Int>) -> Attribute.Item? {
    source.attributes(in: range).lazy.compactMap { $0.item(name) }.first
  }

  private func checkShape(_ declaration: Declaration, _ mark: Int, _ name: Int) throws(ShaderError) {
    let text = source.text(name)
    guard declaration.parent == nil else {
      throw source.error("kernel '\(text)': a member of a class cannot be a kernel", at: name)
    }
    guard text != "main" else { throw source.error("a kernel cannot be called 'main'", at: name) }
    guard text != "operator" else { throw source.error("an operator cannot be a kernel", at: name) }
    let words = source.significant(declaration.start..<name).filter { index in
      !Source.specifiers.contains(source.text(index)) && !source.isAddressSpace(index)
    }
    var rest = words[...]
    // What macros put there for the compiler: `__attribute__((…))`.
    while let first = rest.first, source.isWord(first, "__attribute__") {
      let end = source.after(first + 1)
      rest = rest.drop { $0 < end }
    }
    guard rest.count == 1, let type = rest.first, source.isWord(type, "void") else {
      throw source.error("kernel '\(text)' must return void", at: rest.first ?? name)
    }
  }

  // MARK: Entries

  func entries(_ kernels: [Program.Kernel]) throws(ShaderError) -> [Program.Entry] {
    var byName: [String: [Int]] = [:]
    for (index, kernel) in kernels.enumerated() {
      if let name = symbols.declarations[kernel.place].name { byName[source.text(name), default: []].append(index) }
    }
    var found: [Program.Entry] = []
    for declaration in symbols.declarations where declaration.kind == .instantiation {
      if let entry = try instantiation(declaration, kernels, byName) { found.append(entry) }
    }
    for (index, kernel) in kernels.enumerated() {
      let declaration = symbols.declarations[kernel.place]
      let isGeneral = declaration.templates.contains { $0.count > 2 }
      guard !isGeneral, let name = declaration.name else { continue }
      guard !declaration.isTemplate else {
        throw source.error(
          "kernel '\(source.text(name))': specialised kernels are not supported by SoftMetal", at: name)
      }
      let head = declaration.tokens.lowerBound..<(declaration.parameters ?? name)
      let hostName = try hostName(head) ?? source.text(name)
      found.append(try entry(hostName, index, nil, declaration, at: name))
    }
    found.sort { $0.token < $1.token }
    var names: [String: Program.Entry] = [:]
    for entry in found {
      if names.updateValue(entry, forKey: entry.name) != nil {
        let hint = entry.arguments == nil ? "" : "; give each instantiation its own [[host_name]]"
        throw source.error("two kernels are called '\(entry.name)'\(hint)", at: entry.token)
      }
    }
    return found
  }

  private func entry(
    _ name: String, _ kernel: Int, _ arguments: Range<Int>?, _ declaration: Declaration, at token: Int
  ) throws(ShaderError) -> Program.Entry {
    let head = declaration.tokens.lowerBound..<(declaration.parameters ?? token)
    let item = attribute("max_total_threads_per_threadgroup", head)
    if let item, item.arguments?.isEmpty ?? true {
      throw source.error("attribute '\(item.name)': expected an argument in parentheses", at: item.token)
    }
    return Program.Entry(
      name: name, kernel: kernel, arguments: arguments, maxThreads: item?.arguments, token: token)
  }

  private func hostName(_ range: Range<Int>) throws(ShaderError) -> String? {
    guard let item = attribute("host_name", range) else { return nil }
    let strings = item.arguments.map { $0.map { source[$0] } } ?? []
    guard !strings.isEmpty, strings.allSatisfy({ $0.kind == .string && $0.text.hasPrefix("\"") }) else {
      throw source.error("host_name: expected a string", at: item.token)
    }
    let name = strings.map { String($0.text.dropFirst().dropLast()) }.joined()
    guard !name.isEmpty, !name.contains("\\") else {
      throw source.error("host_name: expected a name without escapes, got \"\(name)\"", at: item.token)
    }
    return name
  }

  /// `template [[host_name("x")]] kernel void f<float>(…);`, in any of its spellings; nil if it is no kernel's.
  private func instantiation(
    _ declaration: Declaration, _ kernels: [Program.Kernel], _ byName: [String: [Int]]
  ) throws(ShaderError) -> Program.Entry? {
    let hostName = try hostName(declaration.tokens)
    let end = declaration.tokens.upperBound - 1
    guard let (name, arguments) = target(declaration.tokens.lowerBound + 1, end),
      case let candidates = fitting(
        arguments, nearest(byName[source.text(name)] ?? [], kernels, declaration), kernels),
      let kernel = candidates.first
    else {
      guard let hostName else { return nil }
      throw source.error(
        "host_name \"\(hostName)\": expected the instantiation of a kernel template", at: declaration.tokens.lowerBound)
    }
    guard candidates.count == 1, symbols.declarations[kernels[kernel].place].isTemplate else {
      throw source.error("'\(source.text(name))': expected one kernel template of this name", at: name)
    }
    guard let arguments else {
      throw source.error(
        "'\(source.text(name))': an instantiation must spell out its template arguments", at: name)
    }
    let text = hostName ?? source.text(name)
    return try entry(text, kernel, arguments, symbols.declarations[kernels[kernel].place], at: name)
  }

  /// Of several templates of one name the ones in the instantiation's own namespace.
  private func nearest(_ candidates: [Int], _ kernels: [Program.Kernel], _ instantiation: Declaration) -> [Int] {
    guard candidates.count > 1 else { return candidates }
    return candidates.filter { symbols.declarations[kernels[$0].place].scope == instantiation.scope }
  }

  /// Of several templates those with parameters for so many arguments, and for their kinds as far as
  /// literals and the names of types tell.
  private func fitting(_ arguments: Range<Int>?, _ candidates: [Int], _ kernels: [Program.Kernel]) -> [Int] {
    guard candidates.count > 1, let given = arguments.map({ source.listed($0) }) else { return candidates }
    return candidates.filter { candidate in
      guard let list = symbols.declarations[kernels[candidate].place].templates.last else { return false }
      let parameters = source.listed(list)
      let needed = parameters.prefix { !source.significant($0).contains { source.isMark($0, "=") } }.count
      guard (needed...max(needed, parameters.count)).contains(given.count) else { return false }
      return zip(parameters, given).allSatisfy { parameter, argument in
        let isType = ["typename", "class"].contains(source.text(parameter.lowerBound))
        let first = source[argument.lowerBound]
        if isType { return !(first.kind == .number || ["true", "false"].contains(first.text)) }
        return MTLDataType(shaderName: first.text) == nil && symbols.single(first.text, [.type, .alias]) == nil
      }
    }
  }

  /// The `name<…>` or `name` that ends the declaration, or stands in front of its last parentheses.
  private func target(_ start: Int, _ end: Int) -> (name: Int, arguments: Range<Int>?)? {
    var index = start
    var found: (Int, Range<Int>?)?
    while index < end {
      if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
      } else if ["decltype", "__attribute__"].contains(source.text(index)), source.isMark(index + 1, "(") {
        index = source.after(index + 1)
      } else if source[index].isWord {
        let after = source.angleEnd(index + 1)
        let next = after ?? index + 1
        if next >= end || (source.isMark(next, "(") && source.after(next) >= end) {
          found = (index, after.map { index + 1..<$0 })
        }
        index = next
      } else {
        index = source.after(index)
      }
    }
    return found
  }
}
