/// What shaders may not contain: because Metal has no such thing, or because SoftMetal has not. Either is refused by name.
struct Restrictions {
  let source: Source
  let symbols: Symbols

  // MARK: Not in the Metal shading language

  private static let forbidden: [String: String] = [
    "double": "'double' is not supported in Metal",
    "virtual": "virtual functions are not supported in Metal",
    "goto": "'goto' is not supported in Metal",
    "thread_local": "'thread_local' is not supported in Metal",
    "try": "exceptions are not supported in Metal",
    "catch": "exceptions are not supported in Metal",
    "throw": "exceptions are not supported in Metal",
    "new": "'new' is not supported in Metal",
    "dynamic_cast": "'dynamic_cast' is not supported in Metal",
    "typeid": "'typeid' is not supported in Metal",
    "co_await": "coroutines are not supported in Metal",
    "co_yield": "coroutines are not supported in Metal",
    "co_return": "coroutines are not supported in Metal",
  ]

  // MARK: Not in SoftMetal

  private static let assembly: Set = ["asm", "__asm", "__asm__"]

  private static let stages: Set = ["vertex", "fragment", "mesh", "object", "visible", "stitchable", "intersection"]

  private static let otherTypes: [String: String] = [
    "sampler": "samplers",
    "intersector": "ray tracing functions",
    "intersection_query": "ray tracing functions",
    "intersection_params": "ray tracing functions",
    "primitive_acceleration_structure": "acceleration structures",
    "instance_acceleration_structure": "acceleration structures",
    "acceleration_structure": "acceleration structures",
    "intersection_function_table": "intersection function tables",
    "visible_function_table": "visible function tables",
    "tensor": "tensors",
    "cooperative_tensor": "tensors",
    "tensor_handle": "tensors",
    "tensor_inline": "tensors",
    "mesh_grid_properties": "mesh shaders",
    "imageblock": "imageblocks",
    "command_buffer": "indirect command buffers",
    "render_pipeline_state": "indirect command buffers",
    "compute_pipeline_state": "indirect command buffers",
    "compute_command": "indirect command buffers",
    "render_command": "indirect command buffers",
    "patch_control_point": "tessellation functions",
    "texture_buffer": "textures",
    "threadgroup_imageblock": "imageblocks",
    "ray_data": "ray tracing functions",
    "object_data": "object shaders",
  ]

  /// What a type's name stands for, in the plural, if SoftMetal has no such things.
  static func unsupportedType(_ name: String) -> String? {
    if let known = otherTypes[name] { return known }
    for (prefix, what) in [("texture", "textures"), ("depth", "depth textures")] where name.hasPrefix(prefix) {
      let rest = name.dropFirst(prefix.count)
      if ["1d", "2d", "3d", "cube"].contains(where: { rest.hasPrefix($0) }) || rest == "_buffer" { return what }
    }
    return nil
  }

  // MARK: The check

  func check(_ declarations: [Declaration]) throws(ShaderError) {
    for (index, token) in source.tokens.enumerated() {
      if token.isWord {
        try checkWord(index, token.text)
        try checkIndirection(index)
      } else if token.kind == .number {
        if let complaint = Literals.complaint(token.text) { throw source.error(complaint, at: index) }
      } else if token.isMark, token.text == "[" {
        try checkLambda(index)
      }
    }
    for declaration in declarations { try check(declaration) }
  }

  private func checkWord(_ index: Int, _ word: String) throws(ShaderError) {
    if DeviceNames.prefixes.contains(where: { word.hasPrefix($0) }) {
      throw source.error("names that begin with '\(word.prefix(3))' are reserved by SoftMetal: '\(word)'", at: index)
    }
    guard !source.isMember(index) else { return try checkSwizzle(index, word) }
    if let complaint = Self.forbidden[word], !source.isWord(index - 1, "operator") {
      throw source.error(complaint, at: index)
    }
    switch word {
    case "delete":
      // `= delete` is a declaration.
      if !source.isMark(index - 1, "=") { throw source.error("'delete' is not supported in Metal", at: index) }
    case "long":
      if source.isWord(index + 1, "long") { throw source.error("'long long' is not supported in Metal", at: index) }
    case let word where Self.assembly.contains(word):
      throw source.error("assembly (names of AIR functions included) is not supported by SoftMetal", at: index)
    default: try checkType(index, word)
    }
  }

  /// `v.xx = …`
  private func checkSwizzle(_ index: Int, _ word: String) throws(ShaderError) {
    guard Swizzles.components(word) != nil, Set(word).count < word.count, symbols.members[word] == nil,
      source[index + 1].isMark, Swizzles.assignments.contains(source.text(index + 1))
    else { return }
    throw source.error("vector is not assignable: '\(word)' has a component twice", at: index)
  }

  /// `float *p`: every pointer and reference says which address space it is of.
  private func checkIndirection(_ index: Int) throws(ShaderError) {
    let mark = source[index + 1]
    guard mark.isMark, mark.text == "*" || mark.text == "&", isType(index) else { return }
    // What follows tells a declarator from a product: nothing but a type can stand before these, or between them.
    let next = source[index + 2]
    guard next.isWord || [")", ",", ">", "*", "&", "("].contains(next.text) else { return }
    var before = index - 1
    while source[before].isWord || source.isMark(before, "::") {
      if source.isAddressSpace(before) || source.isWord(before, "operator") { return }
      before -= 1
    }
    let kind = mark.text == "*" ? "pointer" : "reference"
    throw source.error("\(kind) type must have an explicit address space qualifier", at: index)
  }

  /// A type's name that cannot be anything else here.
  private func isType(_ index: Int) -> Bool {
    let word = source.text(index)
    if MTLDataType(shaderName: word) != nil { return symbols.byName[word] == nil && symbols.members[word] == nil }
    return symbols.members[word] == nil && symbols.byName[word]?.count == 1 && symbols.single(word, [.type]) != nil
      && !source.isMark(index + 2, "(")
  }

  /// A name of Metal's that is used as a type, and not the shader's own.
  private func checkType(_ index: Int, _ word: String) throws(ShaderError) {
    guard let what = Self.unsupportedType(word) else { return }
    let next = source[index + 1]
    let isUsed = next.isWord || (next.isMark && ["<", "&", "*", ">"].contains(next.text))
    guard isUsed, symbols.byName[word] == nil, symbols.members[word] == nil else { return }
    // A variable called `tensor` compared with something is no type.
    let isOwn =
      next.isMark && next.text != "<" && !source.isMark(index - 1, "::") && !Self.startsType(source[index - 1])
    guard !isOwn, next.text != "<" || source.angleEnd(index + 1) != nil else { return }
    throw source.error("'\(word)': \(what) are not supported by SoftMetal", at: index)
  }

  private static func startsType(_ before: Token) -> Bool {
    ["(", ",", ";", "{", "}", "<", "const", "constexpr", "thread", "device", "constant", ""].contains(before.text)
  }

  /// `[…](` or `[…]{` where an expression begins.
  private func checkLambda(_ index: Int) throws(ShaderError) {
    guard source.languageVersion.rawValue < MTLLanguageVersion.version3_2.rawValue, source.attribute(at: index) == nil
    else { return }
    let before = source[index - 1]
    let isSubscript = (before.isWord && before.text != "return") || before.text == ")" || before.text == "]"
    let after = source.text(source.after(index))
    guard !isSubscript, before.text != "[", after == "(" || after == "{", source.attribute(at: index - 1) == nil,
      !source.isMark(index + 1, "[")
    else { return }
    throw source.error("lambda expressions need Metal 3.2 or newer", at: index)
  }

  private func check(_ declaration: Declaration) throws(ShaderError) {
    let head =
      declaration.kind == .function
      ? declaration.start..<(declaration.parameters ?? declaration.start) : declaration.head
    for index in source.significant(head) where source[index].isWord && Self.stages.contains(source.text(index)) {
      if source.text(index) == "vertex" || source.text(index) == "fragment", declaration.kind == .function {
        throw stage(source.text(index), index)
      }
    }
    for attribute in source.attributes(in: declaration.tokens.lowerBound..<head.upperBound) {
      for item in attribute.items where !item.hasPrefix && Self.stages.contains(item.name) {
        throw stage(item.name, item.token)
      }
    }
    if declaration.kind == .variable, declaration.parent == nil { try checkProgramScope(declaration) }
  }

  private func stage(_ name: String, _ index: Int) -> ShaderError {
    source.error("\(name) functions are not supported by SoftMetal: it runs kernels only", at: index)
  }

  private func checkProgramScope(_ variable: Declaration) throws(ShaderError) {
    let words = source.significant(variable.start..<(variable.initialiser ?? variable.tokens.upperBound))
    let spaces = words.filter { source.isAddressSpace($0) }.map { source.text($0) }
    let place = variable.name ?? variable.start
    if spaces.first == "device" || spaces.first == "threadgroup", !words.contains(where: { source.isMark($0, "*") }) {
      throw source.error("\(spaces[0]) variables at program scope are not supported by SoftMetal", at: place)
    }
    // Without a name, this is no declaration that could be told from a mistake; the compiler says what it is.
    guard variable.name != nil, words.filter({ source[$0].isWord }).count > 1, !spaces.contains("constant") else {
      return
    }
    throw source.error("program scope variable must reside in constant address space", at: place)
  }
}

extension Source {
  /// Whether the word at `index` follows `.` or `->`, perhaps with `template` between.
  func isMember(_ index: Int) -> Bool {
    let dot = isWord(index - 1, "template") ? index - 2 : index - 1
    return isMark(dot, ".") || isMark(dot, "->")
  }
}
