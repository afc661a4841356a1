/// Computes what a shader's attributes and parameters need to know of its constants and types.
///
/// Results are kept, so that constants made of constants cost no more than their text.
final class Evaluator {
  let symbols: Symbols
  var source: Source { symbols.source }
  /// Values that come from elsewhere: function constants, arguments of templates. They hide the program's own; nil in
  /// them means that there is none.
  private let given: [String: Int?]
  /// Which function constants have values; others count as unknown.
  private let defined: [String: Bool]
  /// The same for types.
  private let types: [String: Extent?]
  private var values: [String: Int?] = [:]
  private var extents: [String: Extent?] = [:]
  private var depth = 0
  private let instances: Instances

  /// How many instances of templates are still laid out: types may contain themselves, with other arguments.
  final class Instances {
    var left = 256
  }

  init(
    _ symbols: Symbols, given: [String: Int?] = [:], defined: [String: Bool] = [:], types: [String: Extent?] = [:],
    instances: Instances = Instances()
  ) {
    self.symbols = symbols
    self.given = given
    self.defined = defined
    self.types = types
    self.instances = instances
  }

  func spend() -> Bool {
    instances.left -= 1
    return instances.left > 0
  }

  /// Knows the arguments of a template, too, of which `list` has the parameters; those left out have their defaults.
  func bound(_ list: Range<Int>, to arguments: [Range<Int>]) -> Evaluator {
    var (values, kinds) = (given, types)
    func inner() -> Evaluator {
      Evaluator(symbols, given: values, defined: defined, types: kinds, instances: instances)
    }
    for (index, parameter) in source.listed(list).enumerated() {
      let words = source.significant(parameter)
      let equals = words.firstIndex { source.isMark($0, "=") }
      guard let name = words[..<(equals ?? words.count)].last, source[name].isWord else { continue }
      let standard = equals.map { words[$0] + 1..<parameter.upperBound }
      let knows = index < arguments.count ? self : inner()
      let argument = index < arguments.count ? arguments[index] : standard
      if source.isWord(words[0], "typename") || source.isWord(words[0], "class") {
        kinds[source.text(name)] = .some(argument.flatMap { knows.extent(source.significant($0)) })
      } else {
        values[source.text(name)] = .some(argument.flatMap { knows.value(in: $0) })
      }
    }
    return inner()
  }

  private var expression: ConstantExpression {
    ConstantExpression(
      source: source, value: { self.value($0) }, isDefined: { self.defined[$0] },
      size: { self.extent(self.source.significant($0))?.size })
  }

  /// The value of an expression; nil if it has none or it cannot be known.
  func value(in range: Range<Int>) -> Int? { expression.evaluate(range) }

  /// The value of a name.
  func value(_ name: String) -> Int? {
    if let given = given[name] { return given }
    if let known = values[name] { return known }
    guard depth < 64 else { return nil }
    values[name] = .some(nil)  // for constants that need themselves
    depth += 1
    defer { depth -= 1 }
    if let constant = symbols.single(name, [.variable]) {
      let value = initialiser(of: name, in: constant).flatMap { expression.evaluate($0) }
      values[name] = .some(value)
    } else if let enumeration = symbols.single(name, [.enumeration]) {
      compute(enumeration)
    }
    return values[name] ?? nil
  }

  /// The size and alignment of the type that these tokens spell.
  func extent(_ tokens: [Int]) -> Extent? {
    if tokens.contains(where: { source.isMark($0, "*") }) { return Extent(size: 8, alignment: 8) }
    let name = symbols.typeName(tokens)
    if let given = types[name] { return given }
    if let known = extents[name] { return known }
    guard depth < 64 else { return nil }
    extents[name] = .some(nil)
    depth += 1
    defer { depth -= 1 }
    let extent = compute(name) ?? instance(symbols.spelledOut(tokens))
    extents[name] = .some(extent)
    return extent
  }

  // MARK: Initialisers

  /// The tokens between `name =` and the next comma or the end.
  private func initialiser(of name: String, in declaration: Declaration) -> Range<Int>? {
    guard !declaration.isTemplate else { return nil }
    var index = declaration.start
    let end = declaration.tokens.upperBound - 1
    while index < end {
      if source.isWord(index, name), source.isMark(index + 1, "=") { return upToComma(index + 2, end) }
      if source.isWord(index, name), source.isMark(index + 1, "{") { return index + 2..<source.partner(index + 1) }
      index = source.attribute(at: index)?.tokens.upperBound ?? source.after(index)
    }
    return nil
  }

  private func upToComma(_ start: Int, _ end: Int) -> Range<Int> {
    var index = start
    while index < end, !source.isMark(index, ",") { index = source.after(index) }
    return start..<max(start, min(index, end))
  }

  /// All enumerators at once, for each may build on those before it.
  private func compute(_ enumeration: Declaration) {
    guard let body = enumeration.body else { return }
    var next: Int? = 0
    var index = body + 1
    let end = source.partner(body)
    while index < end {
      let name = source.text(index)
      index += 1
      if source.isMark(index, "=") {
        let range = upToComma(index + 1, end)
        next = expression.evaluate(range)
        index = range.upperBound
      }
      values[name] = .some(next)
      next = next.flatMap { $0 == .max ? nil : $0 + 1 }
      while index < end, !source.isMark(index, ",") { index = source.after(index) }
      index += 1
    }
  }
}
