/// Computes integer expressions over constants: indices of attributes, dimensions of arrays, conditions of arguments.
///
/// A value is nil if it cannot be known; `known ? a : b` and `false && a` need only what C++ would compute.
struct ConstantExpression {
  let source: Source
  /// The value of a name; nil if it has none.
  var value: (String) -> Int?
  /// The answer of `is_function_constant_defined`.
  var isDefined: (String) -> Bool? = { _ in nil }
  /// Bytes of the type that the tokens spell.
  var size: (Range<Int>) -> Int? = { _ in nil }

  /// Nil if the tokens are no expression, or one without a known value.
  func evaluate(_ range: Range<Int>) -> Int? {
    var parser = Parser(context: self, index: range.lowerBound, end: range.upperBound)
    let value = parser.conditional()
    return parser.failed || parser.index < range.upperBound ? nil : value
  }

  private struct Parser {
    let context: ConstantExpression
    var index: Int
    let end: Int
    var failed = false
    /// Of operators without brackets; brackets have a limit of their own.
    var depth = 0

    private var token: Token { index < end && !failed ? context.source[index] : .none }
    private var source: Source { context.source }

    private mutating func accept(_ mark: String) -> Bool {
      guard token.isMark, token.text == mark else { return false }
      index += 1
      return true
    }

    private mutating func fail() -> Int? {
      failed = true
      return nil
    }

    mutating func conditional() -> Int? {
      let condition = binary(0)
      guard accept("?") else { return condition }
      depth += 1
      defer { depth -= 1 }
      guard depth < 64 else { return fail() }
      let yes = conditional()
      guard accept(":") else { return fail() }
      let no = conditional()
      return condition.flatMap { $0 != 0 ? yes : no }
    }

    private static let levels: [String: Int] = [
      "||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<": 7, ">": 7, "<=": 7, ">=": 7, "<<": 8, "+": 9,
      "-": 9, "*": 10, "/": 10, "%": 10,
    ]

    private mutating func binary(_ least: Int) -> Int? {
      var left = unary()
      while token.isMark {
        var name = token.text
        var width = 1
        if name == ">", source.isMark(index + 1, ">"), source[index + 1].start == token.end {
          name = ">>"
          width = 2
        }
        guard let level = name == ">>" ? 8 : Self.levels[name], level > least else { break }
        index += width
        let right = binary(level)
        left = Self.apply(name, left, right)
      }
      return left
    }

    private static func apply(_ name: String, _ left: Int?, _ right: Int?) -> Int? {
      if name == "&&" {
        if left == 0 || right == 0 { return 0 }
        return left.flatMap { _ in right.map { _ in 1 } }
      }
      if name == "||" {
        if left.map({ $0 != 0 }) == true || right.map({ $0 != 0 }) == true { return 1 }
        return left.flatMap { _ in right.map { _ in 0 } }
      }
      guard let left, let right else { return nil }
      func checked(_ result: (partialValue: Int, overflow: Bool)) -> Int? {
        result.overflow ? nil : result.partialValue
      }
      switch name {
      case "|": return left | right
      case "^": return left ^ right
      case "&": return left & right
      case "==": return left == right ? 1 : 0
      case "!=": return left != right ? 1 : 0
      case "<": return left < right ? 1 : 0
      case ">": return left > right ? 1 : 0
      case "<=": return left <= right ? 1 : 0
      case ">=": return left >= right ? 1 : 0
      case "<<", ">>":
        guard (0..<63).contains(right) else { return nil }
        return name == ">>" ? left >> right : checked(left.multipliedReportingOverflow(by: 1 << right))
      case "+": return checked(left.addingReportingOverflow(right))
      case "-": return checked(left.subtractingReportingOverflow(right))
      case "*": return checked(left.multipliedReportingOverflow(by: right))
      case "/": return right == 0 ? nil : checked(left.dividedReportingOverflow(by: right))
      case "%": return right == 0 ? nil : checked(left.remainderReportingOverflow(dividingBy: right))
      default: return nil
      }
    }

    private mutating func unary() -> Int? {
      depth += 1
      defer { depth -= 1 }
      guard depth < 64 else { return fail() }
      if accept("!") { return unary().map { $0 == 0 ? 1 : 0 } }
      if accept("~") { return unary().map { ~$0 } }
      if accept("+") { return unary() }
      if accept("-") { return unary().flatMap { $0 == .min ? nil : -$0 } }
      return primary()
    }

    private mutating func primary() -> Int? {
      let first = token
      if first.kind == .number {
        index += 1
        return source.integer(first.text)
      }
      if accept("(") { return parenthesised(index - 1) }
      guard first.isWord else { return fail() }
      if first.text == "true" || first.text == "false" {
        index += 1
        return first.text == "true" ? 1 : 0
      }
      return named()
    }

    /// `(a + b)`, or the cast `(int)a`.
    private mutating func parenthesised(_ open: Int) -> Int? {
      let inner = open + 1..<source.partner(open)
      index = inner.upperBound + 1
      if source.isIntegerType(inner), token.isWord || token.kind == .number || token.text == "(" {
        return Self.converted(unary(), source.text(inner.lowerBound))
      }
      return nested(inner)
    }

    private mutating func nested(_ range: Range<Int>) -> Int? {
      var parser = Parser(context: context, index: range.lowerBound, end: range.upperBound, depth: depth)
      let value = parser.conditional()
      if parser.failed || parser.index < range.upperBound { return fail() }
      return value
    }

    private mutating func named() -> Int? {
      var name = index
      index += 1
      while token.text == "::", source[index + 1].isWord {
        name = index + 1
        index += 2
      }
      let word = source.text(name)
      if word == "static_cast", let after = source.angleEnd(index) { index = after }
      guard token.isMark, token.text == "(" else { return context.value(word) }
      let inner = index + 1..<source.partner(index)
      index = inner.upperBound + 1
      switch word {
      case "is_function_constant_defined":
        let last = source.words(inner).last ?? ""
        return context.isDefined(last).map { $0 ? 1 : 0 }
      case "sizeof": return context.size(inner)
      case "static_cast": return nested(inner)
      default: return source.isIntegerType(name..<name + 1) ? Self.converted(nested(inner), word) : nil
      }
    }

    private static func converted(_ value: Int?, _ type: String) -> Int? {
      type == "bool" ? value.map { $0 != 0 ? 1 : 0 } : value
    }
  }
}

extension Source {
  private static let integerTypes: Set = [
    "bool", "char", "uchar", "short", "ushort", "int", "uint", "long", "ulong", "unsigned", "signed", "size_t",
    "int8_t",
    "uint8_t", "int16_t", "uint16_t", "int32_t", "uint32_t", "int64_t", "uint64_t",
  ]

  func isIntegerType(_ range: Range<Int>) -> Bool {
    !range.isEmpty && range.allSatisfy { self[$0].isWord && Self.integerTypes.contains(text($0)) }
  }

  /// The value of an integer literal.
  func integer(_ literal: String) -> Int? {
    var digits = literal.lowercased().filter { $0 != "'" }
    let isHex = digits.hasPrefix("0x")
    while let last = digits.last, last == "u" || last == "l" { digits.removeLast() }
    if isHex { return Int(digits.dropFirst(2), radix: 16) }
    if digits.hasPrefix("0b") { return Int(digits.dropFirst(2), radix: 2) }
    if digits.hasPrefix("0"), digits.count > 1 { return Int(digits, radix: 8) }
    return Int(digits)
  }
}
