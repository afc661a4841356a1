/// A shader that has been read: its declarations, kernels and constants, checked as far as no values are needed.
struct Program: Sendable {
  /// A kernel that a client can ask for: a function, or one instantiation of a template.
  struct Entry: Sendable {
    let name: String
    /// The kernel's place among `kernels`.
    let kernel: Int
    /// `<…>` of an explicit instantiation, angle brackets included.
    let arguments: Range<Int>?
    /// The expression in `[[max_total_threads_per_threadgroup(…)]]`.
    let maxThreads: Range<Int>?
    /// Where to point.
    let token: Int
  }

  /// A function that is a kernel, or a template of kernels.
  struct Kernel: Sendable {
    /// Its place among the declarations.
    let place: Int
    let parameters: [KernelParameter]
  }

  struct Constant: Sendable {
    let declared: ShaderConstant
    /// Its place among the declarations.
    let place: Int
    /// Tokens of its type.
    let type: [Int]
  }

  let source: Source
  let symbols: Symbols
  let kernels: [Kernel]
  let entries: [Entry]
  let constants: [Constant]
  let references: References
  /// Aliases of types in threadgroup memory, and members of classes that lie there or point there.
  let threadgroupAliases: Set<String>
  let threadgroupMembers: [String: ThreadgroupNames.Meaning]

  var declarations: [Declaration] { symbols.declarations }

  init(text: String, languageVersion: MTLLanguageVersion) throws(ShaderError) {
    source = try Source(text: text, languageVersion: languageVersion)
    let declarations = try DeclarationScanner(source).declarations
    symbols = Symbols(source: source, declarations: declarations)
    try Restrictions(source: source, symbols: symbols).check(declarations)
    constants = try ConstantReader(source: source, symbols: symbols).constants()
    let reader = EntryReader(source: source, symbols: symbols)
    kernels = try reader.kernels()
    entries = try reader.entries(kernels)
    references = References(symbols: symbols, constants: constants)
    threadgroupAliases = ThreadgroupNames.aliases(symbols)
    threadgroupMembers = ThreadgroupNames.members(symbols, aliases: threadgroupAliases)
    try checkVariables()
    for entry in entries { try check(entry) }
  }

  func entry(_ name: String) -> Entry? { entries.first { $0.name == name } }

  func declaration(of entry: Entry) -> Declaration { declarations[kernels[entry.kernel].place] }

  func function(of entry: Entry) throws(ShaderError) -> ShaderFunction {
    var limit: Int?
    if let range = entry.maxThreads {
      limit = evaluator(for: entry, nil).value(in: range)
      guard let limit, limit > 0 else {
        throw source.error(
          "max_total_threads_per_threadgroup of kernel '\(entry.name)': expected a positive constant",
          at: range.lowerBound)
      }
    }
    return ShaderFunction(name: entry.name, line: source.line(entry.token), maxTotalThreads: limit)
  }

  // MARK: Constants of a kernel

  func constants(usedBy function: String) -> [(ShaderConstant, required: Bool)] {
    guard let entry = entry(function) else { return [] }
    let reached = references.reached(from: kernels[entry.kernel].place, and: entry.arguments)
    let asked = references.asked(in: reached)
    return constants.filter { reached.contains($0.place) }.map(\.declared).sorted { $0.index < $1.index }
      .map { ($0, required: !asked.contains($0.name)) }
  }

  // MARK: Slots

  /// What stands in a parameter's place under some values of the constants.
  enum Slot: Equatable {
    case number(Int)
    /// The constants leave the parameter out.
    case absent
    /// An input needs none.
    case none
  }

  /// The slots of an entry's parameters, in their order.
  ///
  /// - Parameter values: of the function constants; nil if they are open, when every conditional parameter exists.
  func slots(_ entry: Entry, _ values: [ConstantValue]?) throws(ShaderError) -> [Slot] {
    let parameters = kernels[entry.kernel].parameters
    let evaluator = evaluator(for: entry, values)
    var slots: [Slot] = []
    var taken: [String: Set<Int>] = [:]
    for parameter in parameters {
      slots.append(try explicitSlot(parameter, evaluator, values, &taken))
    }
    for (index, parameter) in parameters.enumerated() where slots[index] == .none && parameter.space != nil {
      let used = taken[parameter.space ?? "", default: []]
      guard let free = (0..<Limits.bufferSlots).first(where: { !used.contains($0) }) else {
        throw source.error("parameter '\(parameter.name)': no slot is left for it", at: parameter.token)
      }
      taken[parameter.space ?? "", default: []].insert(free)
      slots[index] = exists(parameter, evaluator, values) ? .number(free) : .absent
    }
    return slots
  }

  private func exists(_ parameter: KernelParameter, _ evaluator: Evaluator, _ values: [ConstantValue]?) -> Bool {
    guard let condition = parameter.condition, values != nil else { return true }
    // A constant without a value makes no condition true.
    return evaluator.value(in: condition).map { $0 != 0 } ?? false
  }

  private func explicitSlot(
    _ parameter: KernelParameter, _ evaluator: Evaluator, _ values: [ConstantValue]?, _ taken: inout [String: Set<Int>]
  ) throws(ShaderError) -> Slot {
    guard let space = parameter.space, let range = parameter.slot else { return .none }
    guard let number = evaluator.value(in: range) else {
      // An index that is a function constant is known later.
      if values == nil, source.words(range).contains(where: { word in constants.contains { $0.declared.name == word } })
      {
        return .absent
      }
      throw source.error(
        "'\(space)': expected an integer constant, got '\(source.joined(range))'", at: range.lowerBound)
    }
    guard (0..<Limits.bufferSlots).contains(number) else {
      throw source.error(
        "'\(space)' index of parameter '\(parameter.name)': expected 0 to \(Limits.bufferSlots - 1), got \(number)",
        at: range.lowerBound)
    }
    guard exists(parameter, evaluator, values) else { return .absent }
    let isOpen = parameter.condition != nil && values == nil
    if !taken[space, default: []].insert(number).inserted, !isOpen {
      throw source.error("'\(space)' index \(number) is used for more than one parameter", at: range.lowerBound)
    }
    return .number(number)
  }

  /// Knows the values of function constants and of the arguments of the entry's template.
  func evaluator(for entry: Entry?, _ values: [ConstantValue]?) -> Evaluator {
    var given: [String: Int?] = [:]
    var defined: [String: Bool] = [:]
    for constant in constants {
      let value = values?.first { $0.index == constant.declared.index }
      given[constant.declared.name] = .some(value?.integer)
      if values != nil { defined[constant.declared.name] = value != nil }
    }
    let evaluator = Evaluator(symbols, given: given, defined: defined)
    guard let entry, let list = declaration(of: entry).templates.last else { return evaluator }
    return evaluator.bound(list, to: entry.arguments.map { source.listed($0) } ?? [])
  }
}

extension KernelParameter {
  /// The kind of slot that it takes, as its attribute is called.
  var space: String? {
    switch role {
    case .buffer: "buffer"
    case .threadgroup: "threadgroup"
    case .input: nil
    }
  }
}

extension ConstantValue {
  /// The value, if it is an integer or a bool.
  var integer: Int? {
    let isSigned: Bool
    switch type {
    case .bool: return isTrue ? 1 : 0
    case .char, .short, .int, .long: isSigned = true
    case .uchar, .ushort, .uint, .ulong: isSigned = false
    default: return nil
    }
    guard !bytes.isEmpty, bytes.count <= 8 else { return nil }
    let bits = bytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    let spare = UInt64(64 - bytes.count * 8)
    if isSigned { return Int(Int64(bitPattern: bits << spare) >> Int64(spare)) }
    return Int(exactly: bits)
  }
}

extension Source {
  /// The items of `<a, b>`, given with its angle brackets, between commas.
  func listed(_ list: Range<Int>) -> [Range<Int>] {
    var items: [Range<Int>] = []
    var start = list.lowerBound + 1
    var index = start
    let end = list.upperBound - 1
    while index < end {
      if isMark(index, ",") {
        items.append(start..<index)
        start = index + 1
        index = start
      } else {
        index = angleEnd(index).map { min($0, end) } ?? min(after(index), end)
      }
    }
    if start < end { items.append(start..<end) }
    return items
  }
}
