/// Lockstep: before each statement that stores to threadgroup memory the threads of a simdgroup meet.
///
/// Shaders rely on it that the threads of a simdgroup are never far apart: one writes what others have just read,
/// without a barrier between. Stores are recognised by names; one too many costs time.
extension Translator {
  /// Functions of one class share what they know of its members, those for objects in threadgroup memory apart.
  struct ClassMembers: Hashable {
    let place: Int
    let isInThreadgroup: Bool
  }

  mutating func insertLocks(_ place: Int) {
    let function = declarations[place]
    guard let body = function.body else { return }
    var names = ThreadgroupNames(
      source: source, aliases: program.threadgroupAliases, outer: classMembers(of: function))
    names.collect(function.tokens)
    if let open = function.parameters {
      names.collectOpen(open..<source.after(open), templates: function.templates)
    }
    for (start, end) in StatementScanner(source: source).statements(body) {
      guard let store = firstStore(start..<end, names) else { continue }
      lock(start, end, isAtStart: store == start)
      stores.insert(end)
    }
  }

  /// Loads of matrices that must not overtake what the other lanes store.
  mutating func insertMatrixSteps() {
    let functions = declarations.indices.filter { translated.contains($0) }.map { declarations[$0] }
    var steps = MatrixSteps(source: source, stores: stores)
    guard steps.areNeeded(in: functions) else { return }
    for function in functions {
      for index in function.tokens where source.isWord(index, MatrixSteps.load) && !edits.isDropped(index) {
        edits.replace(index, with: DeviceNames.matrixStep)
      }
    }
  }

  /// Members of the function's class that point into threadgroup memory, or lie there if the object does.
  private mutating func classMembers(of function: Declaration) -> [String: ThreadgroupNames.Meaning] {
    guard let parent = function.parent else { return [:] }
    let isInThreadgroup = function.parameters.map { open in
      (source.after(open)..<max(source.after(open), function.body ?? 0)).contains { source.isWord($0, "threadgroup") }
    }
    let key = ClassMembers(place: parent, isInThreadgroup: isInThreadgroup == true)
    if let known = classMembers[key] { return known }
    var names = ThreadgroupNames(source: source, aliases: program.threadgroupAliases)
    for (_, member) in program.symbols.members(of: parent) where member.kind == .variable {
      names.collect(member.tokens)
      names.collectOpen(member.tokens, templates: declarations[parent].templates)
      if key.isInThreadgroup {
        for name in member.names { names.add(name, .place) }
      }
    }
    classMembers[key] = names.names
    return names.names
  }

  // MARK: Stores

  /// Where the first expression begins that is assigned to and may lie in threadgroup memory.
  private func firstStore(_ statement: Range<Int>, _ names: ThreadgroupNames) -> Int? {
    var start = statement.lowerBound
    var index = start
    while index < statement.upperBound {
      let token = source[index]
      if token.isMark {
        switch token.text {
        case "++", "--":
          // Before its operand or behind it.
          let isPrefix = source[index + 1].isWord || source.isMark(index + 1, "(") || source.isMark(index + 1, "*")
          let range = isPrefix ? index + 1..<operandEnd(index + 1, statement.upperBound) : start..<index
          if isStored(range, names) { return start }
          if !isPrefix { start = index + 1 }
        case let mark where Swizzles.assignments.contains(mark):
          if isStored(start..<index, names) { return start }
          start = index + 1
        case "(", ",", "?", ":", "&&", "||", "{":
          // A parenthesis that opens a cast belongs to what follows it.
          if token.text != "(" || !isCast(index) { start = index + 1 }
        case "[":
          index = source.after(index)
          continue
        default: break
        }
      } else if token.isWord, token.text == "return" || token.text == "co_return" {
        start = index + 1
      }
      index += 1
    }
    return nil
  }

  private func isCast(_ open: Int) -> Bool {
    let close = source.partner(open)
    return (open..<close).contains { source.isAddressSpace($0) } || source.isMark(close - 1, "*")
      || (source.isMark(open + 1, "*"))
  }

  private func operandEnd(_ start: Int, _ end: Int) -> Int {
    var index = start
    while index < end, source[index].isWord || ["[", ".", "->", "::", "*", "("].contains(source.text(index)) {
      index = source.after(index)
    }
    return index
  }

  /// Whether the expression on an assignment's left is threadgroup memory.
  private func isStored(_ range: Range<Int>, _ names: ThreadgroupNames) -> Bool {
    var isDereferenced = false
    var first: Int?
    for index in range {
      if source.isWord(index, "threadgroup"), source.isMark(range.lowerBound, "(") || isDereferenced { return true }
      if source.isMark(index, "*"), first == nil { isDereferenced = true }
      if first == nil, source[index].isWord { first = index }
    }
    guard let first, !isDeclaration(range) else { return false }
    var index = range.lowerBound
    while index < range.upperBound {
      if source.isMark(index, "["), index > first {
        index = source.after(index)
        continue
      }
      let word = source.text(index)
      if source[index].isWord {
        let meaning = source.isMember(index) ? program.threadgroupMembers[word] : names[word]
        let next = source.text(index + 1)
        let isReached = index + 1 < range.upperBound && ["[", "->", "."].contains(next)
        if let meaning, meaning == .place || isReached || isDereferenced { return true }
      }
      index += 1
    }
    return false
  }

  /// `T name`, `T *name`: two words with nothing but stars between, outside of brackets.
  private func isDeclaration(_ range: Range<Int>) -> Bool {
    var index = range.lowerBound
    var previous: Int?
    while index < range.upperBound {
      if source[index].isWord {
        if previous != nil { return true }
        previous = index
        index = source.angleEnd(index + 1) ?? index + 1
      } else if source.isMark(index, "*") || source.isMark(index, "&") || source.isMark(index, "&&") {
        index += 1
      } else {
        if !["(", "["].contains(source.text(index)) { previous = nil }
        index = source.after(index)
        if index <= range.upperBound, source.isMark(index - 1, ")") || source.isMark(index - 1, "]") { previous = nil }
      }
    }
    return false
  }

  // MARK: Locks

  private mutating func lock(_ start: Int, _ end: Int, isAtStart: Bool) {
    let before = source.text(start - 1)
    // Where a statement list goes on, a statement in front will do; declarations may not be put in braces of their own.
    if ["{", "}", ";", ":"].contains(before) {
      edits.insert("\(DeviceNames.lock); ", before: start)
    } else {
      edits.insert("{ \(DeviceNames.lock); ", before: start)
      edits.insert(" }", after: end)
    }
  }
}

/// Finds the statements of a function's body: from the first token to the `;`. Headers of loops and conditions are
/// passed over.
struct StatementScanner {
  let source: Source

  func statements(_ body: Int) -> [(start: Int, end: Int)] {
    var found: [(Int, Int)] = []
    var index = body + 1
    let end = source.partner(body)
    while index < end {
      let word = source.text(index)
      if let attribute = source.attribute(at: index) {
        index = attribute.tokens.upperBound
      } else if ["{", "}", ";", "else", "do"].contains(word) {
        index += 1
      } else if ["if", "for", "while", "switch"].contains(word), source[index].isWord {
        let open = source.isWord(index + 1, "constexpr") ? index + 2 : index + 1
        index = source.isMark(open, "(") ? source.after(open) : index + 1
      } else if word == "case" || word == "default" || isLabel(index) {
        while index < end, !source.isMark(index, ":") { index += 1 }
        index += 1
      } else {
        index = statement(index, end, &found)
      }
    }
    return found
  }

  private func isLabel(_ index: Int) -> Bool { source[index].isWord && source.isMark(index + 1, ":") }

  /// Appends the statement that begins at `start` unless a block interrupts it, whose own statements come next.
  private func statement(_ start: Int, _ end: Int, _ found: inout [(Int, Int)]) -> Int {
    var index = start
    while index < end {
      switch source.text(index) {
      case ";":
        found.append((start, index))
        return index + 1
      case "{" where isBlock(index): return index + 1
      case "}": return index + 1
      case "[": index = source.after(index)
      default: index += 1
      }
    }
    return index
  }

  /// The body of a lambda or of a local type, rather than a list of values.
  private func isBlock(_ open: Int) -> Bool {
    let before = source[open - 1]
    return before.text == ")" || before.text == "mutable" || before.text == "]"
      || source.isMark(source.partner(open) - 1, ";")
  }
}
