/// One declaration at namespace or class scope.
struct Declaration: Sendable {
  enum Kind: Sendable {
    /// With a body or without one.
    case function
    /// A struct, class or union with its members.
    case type
    case enumeration
    case variable
    /// `using X = …`, `typedef …`, `namespace a = b`, `using a::b`.
    case alias
    /// `template …` without `<`.
    case instantiation
    /// `struct X;`, `static_assert(…)`, `using namespace …`, `friend …`: nothing that could be used by name.
    case other
  }

  var kind = Kind.other
  /// Enclosing namespaces and classes, outermost first; empty strings for those without a name.
  let scope: [String]
  /// The enclosing class's place among the declarations.
  let parent: Int?
  /// From the first token to behind the last.
  var tokens: Range<Int>
  /// `template <…>`: the lists' tokens, angle brackets included.
  var templates: [Range<Int>] = []
  /// The `{` of a function's or type's body.
  var body: Int?
  /// The `(` of a function's parameters.
  var parameters: Int?
  /// The token that names it, for functions, types, aliases and a variable's first declarator.
  var name: Int?
  /// All names by which text can refer to it: enumerators and further declarators too.
  var names: [String] = []
  /// `struct`, `class`, `union` or `enum`.
  var typeKeyword: Int?
  /// The `=` of an initialiser.
  var initialiser: Int?

  var isTemplate: Bool { !templates.isEmpty }

  /// What precedes the body.
  var head: Range<Int> { tokens.lowerBound..<(body ?? tokens.upperBound) }

  /// First token behind `template <…>`.
  var start: Int { templates.last?.upperBound ?? tokens.lowerBound }

  /// The name with its namespaces, as the program can be asked for it from anywhere.
  func qualified(_ name: String) -> String { "::" + (scope.filter { !$0.isEmpty } + [name]).joined(separator: "::") }
}

extension Source {
  /// Words that stand before a name without being a part of its type.
  static let specifiers: Set = [
    "static", "inline", "constexpr", "const", "volatile", "extern", "mutable", "register", "kernel", "typename",
    "struct", "class", "union", "enum", "friend", "explicit", "typedef", "restrict", "__restrict", "__restrict__",
  ]

  static let addressSpaces: Set = [
    "device", "constant", "threadgroup", "thread", "threadgroup_imageblock", "ray_data", "object_data",
  ]

  func isAddressSpace(_ index: Int) -> Bool { self[index].isWord && Self.addressSpaces.contains(text(index)) }
}
