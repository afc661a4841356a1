/// Writes C++ for some declarations of a program.
///
/// Each pass notes its changes token by token; at the end the text is put together again. The passes need no order
/// among themselves but this: what encloses others comes last.
struct Translator {
  let program: Program
  /// Values of the function constants; nil to leave them open.
  let values: [ConstantValue]?
  let lockstep: Bool
  /// For the probe of address spaces, which knows these and much of Metal's own syntax, and little of the library.
  let isProbe: Bool
  /// Places of the declarations that are wanted.
  let kept: Set<Int>
  var edits = Edits()
  /// Names that are swizzles of vectors as well as members of the shader's own types.
  private(set) var ambiguous: Set<String> = []
  /// Functions with bodies, by place, and where statements end that store to threadgroup memory.
  private(set) var translated: Set<Int> = []
  var stores: Set<Int> = []
  var classMembers: [ClassMembers: [String: ThreadgroupNames.Meaning]] = [:]
  private var threadgroupVariables = 0
  /// Where expressions begin whose members are ambiguous, by the `.` or `->`.
  private var postfixStarts: [Int: Int] = [:]

  var source: Source { program.source }
  var declarations: [Declaration] { program.declarations }

  init(program: Program, values: [ConstantValue]?, lockstep: Bool, kept: Set<Int>, isProbe: Bool = false) {
    self.program = program
    self.values = values
    self.lockstep = lockstep
    self.isProbe = isProbe
    self.kept = kept
  }

  /// The translated declarations, without the entry.
  mutating func translate() throws(ShaderError) -> String {
    let duplicates = isProbe ? [] : try Overloads(program: program, kept: kept).duplicates()
    let constants = Dictionary(program.constants.map { ($0.place, $0) }) { first, _ in first }
    for (place, declaration) in declarations.enumerated() where declaration.parent == nil && isKept(place) {
      if let constant = constants[place] {
        replace(constant)
      } else {
        try rewrite(place, duplicates)
      }
    }
    if lockstep { insertMatrixSteps() }
    var renderer = Renderer(source: source, edits: edits)
    var next = 0
    for (place, declaration) in declarations.enumerated() where declaration.parent == nil {
      // What belongs to no declaration opens or closes a namespace.
      renderer.copy(next..<max(next, declaration.tokens.lowerBound))
      next = max(next, declaration.tokens.upperBound)
      if isKept(place), !duplicates.contains(place) {
        renderer.copy(declaration.tokens)
      } else {
        renderer.skip(declaration.tokens)
      }
    }
    renderer.copy(next..<max(next, source.count))
    let header = isProbe ? DeviceNames.probeHeader : DeviceNames.header
    return "#include \"\(header)\"\n" + ambiguous.sorted().map(Self.accessor).joined() + renderer.text
      + "\n"
  }

  private func isKept(_ place: Int) -> Bool { kept.contains(place) && declarations[place].kind != .instantiation }

  /// A declaration with its members.
  private mutating func rewrite(_ place: Int, _ duplicates: Set<Int>) throws(ShaderError) {
    let range = declarations[place].tokens
    rewriteTokens(range)
    var member = place
    while member < declarations.count, declarations[member].tokens.upperBound <= range.upperBound {
      let declaration = declarations[member]
      if member != place, duplicates.contains(member) {
        edits.drop(declaration.tokens)
      } else if declaration.kind == .function {
        if !isProbe { rewriteQualifiers(declaration) }
        if declaration.body != nil {
          try replaceThreadgroupVariables(declaration)
          if lockstep { insertLocks(member) }
          translated.insert(member)
        }
      }
      member += 1
    }
  }

  // MARK: Tokens

  private mutating func rewriteTokens(_ range: Range<Int>) {
    var index = range.lowerBound
    while index < range.upperBound {
      if let attribute = source.attribute(at: index) {
        rewrite(attribute)
        index = attribute.tokens.upperBound
        continue
      }
      let token = source[index]
      switch token.kind {
      case .number: edits.replace(index, with: Literals.translate(token.text))
      case .word:
        if source.isMark(index - 1, ".") || source.isMark(index - 1, "->") {
          if !isProbe { swizzle(index) }
        } else {
          rewriteWord(index, token.text)
        }
      default: break
      }
      index += 1
    }
  }

  private mutating func rewrite(_ attribute: Attribute) {
    guard !attribute.isKept else { return }
    edits.drop(attribute.tokens)
    if attribute.item("kernel") != nil {
      edits.replace(attribute.tokens.lowerBound, with: DeviceNames.kernelFunction)
    }
  }

  private mutating func rewriteWord(_ index: Int, _ word: String) {
    switch word {
    case "static_cast" where isProbe: break
    case let word where isProbe && Source.addressSpaces.contains(word): break
    case "constant": edits.replace(index, with: "const")
    case let word where Source.addressSpaces.contains(word): edits.drop(index)
    case "kernel": edits.replace(index, with: DeviceNames.kernelFunction)
    case "static_cast": edits.replace(index, with: DeviceNames.cast)
    case "coherent":
      // A qualifier of device memory, `coherent(device)` included; the CPU's memory is.
      if source.isAddressSpace(index - 1) || source.isAddressSpace(index + 1) || source.isMark(index + 1, "(") {
        edits.drop(index..<(source.isMark(index + 1, "(") ? source.after(index + 1) : index + 1))
      }
    case "is_function_constant_defined":
      guard source.isMark(index + 1, "("), let name = source.words(index + 2..<source.partner(index + 1)).last,
        let constant = program.constants.first(where: { $0.declared.name == name })
      else { return }
      // Left open, every constant counts as having a value.
      let isDefined = values.map { $0.contains { $0.index == constant.declared.index } } ?? true
      edits.drop(index + 1..<source.after(index + 1))
      edits.replace(index, with: isDefined ? "true" : "false")
    default: break
    }
  }

  private mutating func swizzle(_ index: Int) {
    let word = source.text(index)
    guard let components = Swizzles.components(word), !source.isMark(index + 1, "(") else { return }
    let next = source[index + 1]
    let isAssigned = next.isMark && Swizzles.assignments.contains(next.text)
    guard program.symbols.members[word] == nil else {
      // The compiler decides which of the two it is.
      ambiguous.insert(word)
      let isArrow = source.isMark(index - 1, "->")
      let start = source.postfixStart(index - 1, known: postfixStarts)
      postfixStarts[index - 1] = start
      edits.insert(
        "::sm_\(isAssigned ? "set" : "get")_\(word)(\(isArrow ? "*(" : "")", before: start)
      edits.replace(index - 1, with: isArrow ? ")" : "")
      edits.replace(index, with: ", 0)")
      return
    }
    let accessor = isAssigned ? DeviceNames.setSwizzle : DeviceNames.getSwizzle
    edits.replace(index, with: "template \(accessor)<\(components)>()")
  }

  /// Functions that take a member called like a swizzle, or else the swizzle.
  private static func accessor(_ word: String) -> String {
    let components = Swizzles.components(word) ?? ""
    func function(_ name: String, _ swizzle: String) -> String {
      "template <typename T> static inline auto \(name)_\(word)(T &&v, int) -> decltype((v.\(word))) "
        + "{ return v.\(word); }\n"
        + "template <typename T> static inline auto \(name)_\(word)(T &&v, long) "
        + "-> decltype(v.template \(swizzle)<\(components)>()) { return v.template \(swizzle)<\(components)>(); }\n"
    }
    return function("sm_get", DeviceNames.getSwizzle) + function("sm_set", DeviceNames.setSwizzle)
  }

  // MARK: Declarations

  /// Behind a method's parameters an address space says where the object lies; `constant` objects are const.
  private mutating func rewriteQualifiers(_ function: Declaration) {
    guard let open = function.parameters else { return }
    var index = source.after(open)
    // A constructor's object is being made, so it cannot be const yet.
    var isConst = program.symbols.isConstructor(function)
    while index < function.tokens.upperBound, !["{", ";", ":", "=", "->"].contains(source.text(index)) {
      if source.isWord(index, "const") {
        isConst = true
      } else if source.isWord(index, "constant") {
        edits.replace(index, with: isConst || followedByConst(index, function) ? "" : "const")
        isConst = true
      }
      index = source.attribute(at: index)?.tokens.upperBound ?? source.after(index)
    }
  }

  private func followedByConst(_ index: Int, _ function: Declaration) -> Bool {
    var next = index + 1
    while source.isAddressSpace(next) { next += 1 }
    return source.isWord(next, "const")
  }

  private mutating func replace(_ constant: Program.Constant) {
    let declaration = declarations[constant.place]
    edits.drop(declaration.tokens)
    let type = constant.type.map { source.text($0) }.joined(separator: " ").replacing(" :: ", with: "::")
    let name = constant.declared.name
    let text: String
    if let values {
      let value = values.first { $0.index == constant.declared.index }
      let isScalar = MTLDataType.scalars.contains { $0.type == constant.declared.type }
      text =
        "static \(isScalar ? "constexpr" : "const") \(type) \(name) = "
        + ConstantText.text(constant.declared.type, value?.bytes ?? []) + ";"
    } else {
      text = "extern \(isProbe ? "constant " : "")const \(type) \(name);"
    }
    edits.replace(declaration.tokens.lowerBound, with: text)
  }

  private mutating func replaceThreadgroupVariables(_ function: Declaration) throws(ShaderError) {
    for variable in try ThreadgroupVariable.all(in: function, source) {
      var text = ""
      for declarator in variable.declarators {
        let type = "sm_t\(threadgroupVariables)"
        text +=
          "typedef \(rendered(variable.type)) \(type)\(rendered(declarator.dimensions)); \(isProbe ? "threadgroup " : "")"
          + "\(type) &\(source.text(declarator.name)) = \(DeviceNames.threadgroupVariable)<\(type), \(threadgroupVariables)>(); "
        threadgroupVariables += 1
      }
      edits.drop(variable.tokens)
      edits.replace(variable.tokens.lowerBound, with: text)
    }
  }

  /// Tokens as they have been rewritten so far.
  func rendered(_ tokens: [Int]) -> String {
    tokens.map { edits.text($0, source[$0]) }.filter { !$0.isEmpty }.joined(separator: " ")
  }
}
