/// Which declarations mention which: what a kernel needs, and which constants it uses.
///
/// A word refers to every declaration of that name, so more may be found than a compiler would, never less.
struct References: Sendable {
  private let source: Source
  private let declarations: [Declaration]
  private let byName: [String: [Int]]
  /// The same places, for each word once, by number.
  private let targets: [[Int]]
  /// For each declaration at namespace scope, and for members the same as for their class: numbers of words it mentions.
  private let mentions: [[Int]]
  /// What is needed though nothing names it: operators, assertions, `using namespace`.
  private let always: [Int]

  init(symbols: Symbols, constants: [Program.Constant]) {
    source = symbols.source
    declarations = symbols.declarations
    byName = symbols.byName
    var numbers: [String: Int] = [:]
    var targets: [[Int]] = []
    for (name, places) in symbols.byName {
      numbers[name] = targets.count
      targets.append(places)
    }
    var always: [Int] = []
    var mentions = [[Int]](repeating: [], count: symbols.declarations.count)
    var members: [Int: Set<String>] = [:]
    for declaration in symbols.declarations {
      if let parent = declaration.parent { members[parent, default: []].formUnion(declaration.names) }
    }
    var namespaces: Set<String> = []
    for declaration in symbols.declarations where declaration.parent == nil {
      for scope in declaration.scope { namespaces.formUnion(scope.split(separator: ":").map(String.init)) }
    }
    for (place, declaration) in symbols.declarations.enumerated() where declaration.parent == nil {
      if declaration.kind == .instantiation { continue }
      if declaration.names.isEmpty || declaration.names.contains(where: Self.unnamed.contains) { always.append(place) }
      var seen: Set<Int> = []
      let hidden = members[place] ?? []
      for index in declaration.tokens where source[index].isWord {
        guard let number = numbers[source.text(index)], !seen.contains(number),
          Self.canRefer(index, source, hidden: hidden, namespaces: namespaces)
        else { continue }
        seen.insert(number)
        mentions[place].append(number)
      }
    }
    self.targets = targets
    self.mentions = mentions
    self.always = always
  }

  /// Whether a word can mean something at namespace scope. Members of classes cannot: they come with their class, whose
  /// own text they hide everybody else's names from.
  private static func canRefer(
    _ index: Int, _ source: Source, hidden: Set<String>, namespaces: Set<String>
  ) -> Bool {
    if source.isMember(index) { return false }
    guard source.isMark(index - 1, "::") else { return !hidden.contains(source.text(index)) }
    let qualifier = source[index - 2]
    return qualifier.isWord ? namespaces.contains(qualifier.text) : qualifier.text != ">"
  }

  /// Names by which a compiler finds functions that the text does not spell out.
  private static let unnamed: Set = ["operator", "begin", "end"]

  /// Places of the declarations that a declaration needs, itself included, and what the given tokens need.
  func reached(from place: Int, and tokens: Range<Int>?) -> Set<Int> {
    var reached: Set = [place]
    var open = [place] + always
    if let tokens {
      for index in tokens where source[index].isWord { open += byName[source.text(index)] ?? [] }
    }
    reached.formUnion(open)
    var seen: Set<Int> = []
    while let next = open.popLast() {
      for number in mentions[next] where seen.insert(number).inserted {
        for target in targets[number] where reached.insert(target).inserted { open.append(target) }
      }
    }
    return reached
  }

  /// Names that `is_function_constant_defined` is asked about in the given declarations.
  func asked(in places: Set<Int>) -> Set<String> {
    var names: Set<String> = []
    for place in places {
      for index in declarations[place].tokens where source.isWord(index, "is_function_constant_defined") {
        guard source.isMark(index + 1, "("), let name = source.words(index + 2..<source.partner(index + 1)).last else {
          continue
        }
        names.insert(name)
      }
    }
    return names
  }
}
