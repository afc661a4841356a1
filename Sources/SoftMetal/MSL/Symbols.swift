/// Which declarations a name may mean, and which types are the same in other words.
///
/// Names are looked up by their last part, without regard to scopes: enough for sizes and conditions, and a name with
/// several meanings has no value.
struct Symbols: Sendable {
  let source: Source
  let declarations: [Declaration]
  /// Places of the declarations at namespace scope, by name.
  let byName: [String: [Int]]
  /// The same for members of classes.
  let members: [String: [Int]]
  /// Of both, by name and kind: the only place, or nil if there are several.
  private let only: [String: [Declaration.Kind: Int?]]
  private let onlyMember: [String: [Declaration.Kind: Int?]]

  init(source: Source, declarations: [Declaration]) {
    self.source = source
    self.declarations = declarations
    var byName: [String: [Int]] = [:]
    var members: [String: [Int]] = [:]
    var only: [String: [Declaration.Kind: Int?]] = [:]
    var onlyMember: [String: [Declaration.Kind: Int?]] = [:]
    for (place, declaration) in declarations.enumerated() {
      for name in declaration.names {
        if declaration.parent == nil {
          byName[name, default: []].append(place)
          only[name, default: [:]].merge([declaration.kind: place]) { _, _ in nil }
        } else {
          members[name, default: []].append(place)
          onlyMember[name, default: [:]].merge([declaration.kind: place]) { _, _ in nil }
        }
      }
    }
    self.byName = byName
    self.members = members
    self.only = only
    self.onlyMember = onlyMember
  }

  /// The one declaration of that name at namespace scope, of the kinds that count.
  func single(_ name: String, _ kinds: [Declaration.Kind]) -> Declaration? {
    Self.only(only[name], kinds).map { declarations[$0] }
  }

  /// The place of the one declaration of that name, within a class if there is none outside.
  func place(of name: String, _ kinds: [Declaration.Kind]) -> Int? {
    byName[name] == nil ? Self.only(onlyMember[name], kinds) : Self.only(only[name], kinds)
  }

  private static func only(_ places: [Declaration.Kind: Int?]?, _ kinds: [Declaration.Kind]) -> Int? {
    let found = kinds.compactMap { places?[$0] }
    return found.count == 1 ? found[0] : nil
  }

  /// What a class declares, in its order, with the places.
  func members(of place: Int) -> [(place: Int, Declaration)] {
    let end = declarations[place].tokens.upperBound
    return declarations.indices[(place + 1)...].prefix { declarations[$0].tokens.upperBound <= end }
      .filter { declarations[$0].parent == place }.map { ($0, declarations[$0]) }
  }

  /// Whether a function within a class has the class's name.
  func isConstructor(_ function: Declaration) -> Bool {
    guard let parent = function.parent, let name = function.name, let own = declarations[parent].name else {
      return false
    }
    return source.text(name) == source.text(own)
  }

  // MARK: Types

  /// The spelling of a type with aliases followed and `metal::`, `const` and the like left out.
  func typeName(_ tokens: [Int], depth: Int = 0) -> String {
    var words = tokens.map { source.text($0) }.filter { !Self.ignored.contains($0) }
    var qualifiers = 0
    while words.count >= qualifiers + 3, words[qualifiers + 1] == "::" { qualifiers += 2 }
    words.removeFirst(qualifiers)
    let spelled = words.joined(separator: " ")
    if let plain = Self.spellings[spelled] { return plain }
    if words.count == 6, words[0] == "vec", words[1] == "<", words[3] == ",", words[5] == ">" {
      return (Self.spellings[words[2]] ?? words[2]) + words[4]
    }
    if words.count == 1, depth < 16, let alias = single(words[0], [.alias]), let target = aliased(alias) {
      return typeName(target, depth: depth + 1)
    }
    return words.joined()
  }

  /// The tokens of a type with aliases followed.
  func spelledOut(_ tokens: [Int]) -> [Int] {
    var tokens = tokens
    for _ in 0..<16 {
      let words = tokens.filter { !Self.ignored.contains(source.text($0)) }
      guard words.count == 1, let alias = single(source.text(words[0]), [.alias]), let target = aliased(alias) else {
        break
      }
      tokens = target
    }
    return tokens
  }

  private static let ignored: Set<String> = [
    "const", "volatile", "constant", "device", "thread", "threadgroup", "struct", "class", "union", "enum", "typename",
    "static", "constexpr", "inline", "restrict", "__restrict", "__restrict__", "coherent",
  ]

  private static let spellings: [String: String] = [
    "unsigned": "uint", "unsigned int": "uint", "uint32_t": "uint", "int32_t": "int", "signed": "int",
    "signed int": "int", "unsigned short": "ushort", "uint16_t": "ushort", "int16_t": "short", "signed short": "short",
    "unsigned char": "uchar", "uint8_t": "uchar", "int8_t": "char", "signed char": "char", "unsigned long": "ulong",
    "uint64_t": "ulong", "int64_t": "long", "size_t": "ulong", "ptrdiff_t": "long", "long int": "long",
    "unsigned long int": "ulong", "short int": "short", "unsigned short int": "ushort",
  ]

  /// The tokens of what an alias stands for.
  func aliased(_ alias: Declaration) -> [Int]? {
    guard !alias.isTemplate, let name = alias.name else { return nil }
    let end = alias.tokens.upperBound - 1
    if source.isWord(alias.start, "typedef") {
      return name == end - 1 ? source.significant(alias.start + 1..<name) : nil
    }
    return alias.initialiser.map { source.significant($0 + 1..<end) }
  }
}
