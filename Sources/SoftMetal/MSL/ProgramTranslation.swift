/// From a program to C++ text.
extension Program {
  func translate(
    _ name: String, constants values: [ConstantValue], flavour: ShaderFlavour
  ) throws(ShaderError) -> ShaderTranslation {
    guard let entry = entry(name) else {
      throw ShaderError(message: "there is no kernel '\(name)'", file: "program_source", line: 1, column: 1)
    }
    let slots = try slots(entry, values)
    let kept = references.reached(from: kernels[entry.kernel].place, and: entry.arguments)
    var translator = Translator(program: self, values: values, lockstep: flavour.lockstep, kept: kept)
    var text = try translator.translate()
    let most = try function(of: entry).maxTotalThreads ?? Limits.threads
    text += "#line 1 \"softmetal_entry\"\n\(DeviceNames.entry)(\"\(name)\", \(min(most, Limits.threads)), k) {\n"
    text += call(entry, slots, translator) + "}\n"
    return ShaderTranslation(
      text: text, arguments: arguments(entry, slots, values), threadgroupSlots: threadgroupSlots(entry, slots))
  }

  func translateForCheck() throws(ShaderError) -> String {
    let kept = Set(declarations.indices)
    var translator = Translator(program: self, values: nil, lockstep: false, kept: kept)
    var text = try translator.translate()
    for (number, entry) in entries.enumerated() {
      // A failed instantiation is reported where the shader asks for it.
      let place = source.map.place(of: source[entry.token].start)
      text += "#line \(max(1, place.line)) \"\(place.file)\"\n"
      text +=
        "[[maybe_unused]] static void sm_check\(number)([[maybe_unused]] const \(DeviceNames.arguments) &k) { "
        + call(entry, try slots(entry, nil), translator).replacing("\n", with: " ") + "}\n"
    }
    return text
  }

  /// Everything there is with its address spaces, for `SpaceProbe`.
  func translateForProbe() throws(ShaderError) -> String {
    let kept = Set(declarations.indices)
    var translator = Translator(program: self, values: nil, lockstep: false, kept: kept, isProbe: true)
    var text = try translator.translate()
    for (number, entry) in entries.enumerated() {
      guard let arguments = entry.arguments else { continue }
      // Taking its address is enough to have a template looked into.
      let declaration = declaration(of: entry)
      let name = declaration.qualified(declaration.name.map { source.text($0) } ?? "")
      let list = translator.rendered(source.significant(arguments))
      text += "void sm_probe\(number)() { auto sm_kernel = &\(name)\(list); }\n"
    }
    return text
  }

  /// The call of the kernel with an argument for each parameter.
  private func call(_ entry: Entry, _ slots: [Slot], _ translator: Translator) -> String {
    let declaration = declaration(of: entry)
    let name = declaration.name.map { source.text($0) } ?? ""
    let arguments = entry.arguments.map { Self.withoutSpaces(source.significant($0), source) } ?? ""
    let parameters = zip(kernels[entry.kernel].parameters, slots).map { parameter, slot in
      switch (parameter.role, slot) {
      case (.input(let input), _): return "k.\(input)()"
      case (.buffer, .number(let slot)): return "k.\(parameter.isReference ? "reference" : "buffer")(\(slot))"
      case (.threadgroup, .number(let slot)):
        return "k.threadgroup\(parameter.isReference ? "_reference" : "")(\(slot))"
      // Nothing is bound to a slot that no argument has: a null pointer, or a reference that nobody may use.
      case _ where parameter.isReference: return "\(DeviceNames.reference){nullptr}"
      default: return "nullptr"
      }
    }
    return "  \(declaration.qualified(name))\(arguments)(\(parameters.joined(separator: ", ")));\n"
  }

  /// Template arguments in C++.
  private static func withoutSpaces(_ tokens: [Int], _ source: Source) -> String {
    tokens.compactMap { index in
      let token = source[index]
      if token.kind == .number { return Literals.translate(token.text) }
      if token.isWord, token.text == "constant" { return "const" }
      return source.isAddressSpace(index) ? nil : token.text
    }.joined(separator: " ")
  }

  private func arguments(_ entry: Entry, _ slots: [Slot], _ values: [ConstantValue]) -> [KernelArgument] {
    let evaluator = evaluator(for: entry, values)
    var found: [KernelArgument] = []
    for (parameter, slot) in zip(kernels[entry.kernel].parameters, slots) {
      guard case .buffer(let isWritten) = parameter.role, case .number(let slot) = slot else { continue }
      let size = parameter.isReference ? evaluator.extent(parameter.type)?.size : nil
      found.append(
        KernelArgument(
          name: parameter.name, slot: slot, isWritten: isWritten, minBytes: UInt64(size ?? 0), guardConstant: nil))
    }
    return found.sorted { $0.slot < $1.slot }
  }

  private func threadgroupSlots(_ entry: Entry, _ slots: [Slot]) -> [Int] {
    var found: [Int] = []
    for (parameter, slot) in zip(kernels[entry.kernel].parameters, slots) {
      if case .threadgroup = parameter.role, case .number(let slot) = slot { found.append(slot) }
    }
    return found.sorted()
  }
}
