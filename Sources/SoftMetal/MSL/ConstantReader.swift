/// Reads the declarations `constant T name [[function_constant(index)]];`.
struct ConstantReader {
  let source: Source
  let symbols: Symbols

  func constants() throws(ShaderError) -> [Program.Constant] {
    var found: [Program.Constant] = []
    var indices: [Int: String] = [:]
    var names: Set<String> = []
    let evaluator = Evaluator(symbols)
    for (place, declaration) in symbols.declarations.enumerated() {
      guard declaration.kind != .function, declaration.kind != .instantiation, declaration.kind != .type,
        let item = source.attributes(in: declaration.tokens).lazy.compactMap({ $0.item("function_constant") }).first
      else { continue }
      let constant = try constant(declaration, place, item, evaluator)
      if let other = indices[constant.declared.index] {
        throw source.error(
          "function_constant index \(constant.declared.index) is used for '\(other)' and '\(constant.declared.name)'",
          at: item.token)
      }
      guard names.insert(constant.declared.name).inserted else {
        throw source.error("two function constants are called '\(constant.declared.name)'", at: item.token)
      }
      indices[constant.declared.index] = constant.declared.name
      found.append(constant)
    }
    return found
  }

  private func constant(
    _ declaration: Declaration, _ place: Int, _ item: Attribute.Item, _ evaluator: Evaluator
  ) throws(ShaderError) -> Program.Constant {
    guard let name = declaration.name, declaration.kind == .variable else {
      throw source.error("function_constant: expected a constant's declaration", at: item.token)
    }
    let text = source.text(name)
    func error(_ message: String, _ index: Int) -> ShaderError {
      source.error("function constant '\(text)' \(message)", at: index)
    }
    if let initialiser = declaration.initialiser { throw error("cannot have an initialiser", initialiser) }
    guard declaration.parent == nil, !declaration.isTemplate else {
      throw error("must be declared at program scope, and not as a template", name)
    }
    let words = source.significant(declaration.tokens)
    guard words.contains(where: { source.isWord($0, "constant") }) else {
      throw error("must reside in constant address space", name)
    }
    guard declaration.names.count == 1, !words.contains(where: { ["[", "*", "&", "{"].contains(source.text($0)) })
    else {
      throw error("must be one scalar or vector", name)
    }
    let type = words.prefix { $0 != name }.filter {
      !Source.specifiers.contains(source.text($0)) && !source.isAddressSpace($0)
    }
    let spelling = symbols.typeName(type)
    guard let dataType = MTLDataType(shaderName: spelling) else {
      throw error("must be a scalar or vector, got '\(spelling)'", type.first ?? name)
    }
    guard let arguments = item.arguments, let index = evaluator.value(in: arguments) else {
      throw error("has no index: expected an integer constant expression", item.token)
    }
    guard (0..<Limits.functionConstants).contains(index) else {
      throw error("has index \(index): expected 0 to \(Limits.functionConstants - 1)", item.token)
    }
    return Program.Constant(
      declared: ShaderConstant(name: text, index: index, type: dataType, line: source.line(name)), place: place,
      type: type)
  }
}
