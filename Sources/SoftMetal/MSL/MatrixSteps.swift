/// Whether a simdgroup in lockstep must meet before it loads matrices from threadgroup memory.
///
/// A load takes what other lanes have stored. It need not wait for them where they meet between all stores and loads, as
/// they should at a barrier; a look at the text in its order tells.
struct MatrixSteps {
  let source: Source
  /// Where statements end that store to threadgroup memory.
  let stores: Set<Int>
  private var summaries: [String: Summary] = [:]

  static let load = "simdgroup_load"

  /// What a call does to its caller.
  private struct Summary {
    /// It loads before its lanes first meet.
    var loadsFirst = false
    var meets = false
    /// It stores after they last met.
    var leavesStores = false
  }

  init(source: Source, stores: Set<Int>) {
    self.source = source
    self.stores = stores
  }

  /// The functions are in the order of the text: what is called comes first.
  mutating func areNeeded(in functions: [Declaration]) -> Bool {
    functions.contains { isUnordered($0) }
  }

  /// Whether a load follows a store and the lanes do not meet between.
  private mutating func isUnordered(_ function: Declaration) -> Bool {
    guard let body = function.body, let name = function.name else { return false }
    let range = body..<source.after(body)
    let hasLoop = range.contains { ["for", "while"].contains(source.text($0)) }
    var own = Summary()
    // What stands at a loop's end comes before what stands at its beginning.
    for _ in 0..<(hasLoop ? 2 : 1) {
      for index in range {
        if source[index].isWord, let called = summary(index) {
          if called.loadsFirst {
            if own.leavesStores { return true }
            if !own.meets { own.loadsFirst = true }
          }
          if called.meets { (own.meets, own.leavesStores) = (true, false) }
          if called.leavesStores { own.leavesStores = true }
        }
        if stores.contains(index) { own.leavesStores = true }
      }
    }
    let known = summaries[source.text(name)]
    summaries[source.text(name)] = Summary(
      loadsFirst: own.loadsFirst || known?.loadsFirst == true,
      meets: own.meets && known?.meets != false,
      leavesStores: own.leavesStores || known?.leavesStores == true)
    return false
  }

  private func summary(_ index: Int) -> Summary? {
    let word = source.text(index)
    switch word {
    case Self.load: return Summary(loadsFirst: true)
    case "threadgroup_barrier", "simdgroup_barrier":
      let flags = source.isMark(index + 1, "(") ? source.words(index + 1..<source.partner(index + 1)) : []
      return Summary(meets: !flags.contains("mem_none"))
    case "simdgroup_multiply", "simdgroup_multiply_accumulate": return Summary(meets: true)
    default:
      if word.hasPrefix("simd_"), !word.hasPrefix("simd_is_"), source.isMark(index + 1, "(") {
        return Summary(meets: true)
      }
      return summaries[word]
    }
  }
}
