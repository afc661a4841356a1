/// The passes for an attention problem, and why these.
struct PrefillChoice {
  typealias Problem = FlashAttnPrefill.Problem

  /// Put into words only for those who ask.
  private typealias Reason = () -> String

  let problem: Problem
  let tuning: Tuning.Prefill
  let plan: Plan
  /// Why `FlashAttnPrefillD512` does not run; nil if it does.
  private let reasonAgainstD512: Reason?
  /// Why `FlashAttnPrefillBlk` does not run; nil if it does.
  private let reasonAgainstBlk: Reason?

  /// - Parameter operation: what errors name.
  init(_ problem: Problem, _ tuning: Tuning.Prefill, for operation: String) throws(FAError) {
    var problem = problem
    reasonAgainstD512 = Self.reasonAgainstD512(problem, tuning)
    reasonAgainstBlk = Self.reasonAgainstBlk(problem, tuning)
    if reasonAgainstD512 == nil { problem.nsg = tuning.nsg }
    self.problem = problem
    self.tuning = tuning
    let spec = reasonAgainstD512 == nil ? FlashAttnPrefillD512.spec : FlashAttnPrefill.spec
    let direct = try spec.plan(problem, for: operation)
    guard reasonAgainstBlk == nil, let tile = direct.passes.first?.tile else {
      plan = direct
      return
    }
    let blk = Self.blkProblem(problem, tile)
    let tiles = tile.count(rows: problem.queryLength, keys: problem.keyLength)
    problem.blk = true
    problem.blkStrides = (
      blk.batch > 1 ? tiles.rows * tiles.keys * blk.heads : 0, blk.heads > 1 ? tiles.rows * tiles.keys : 0
    )
    plan = try spec.plan(problem, for: operation).after(
      try FlashAttnPrefillBlk.spec.plan(blk, for: operation), through: "blk")
  }

  /// The passes alone; the device keeps the last ones.
  static func plan(_ problem: Problem, on device: Device, for operation: String) throws(FAError) -> Plan {
    try device.plans.prefill.plan(problem, for: operation) { () throws(FAError) in
      try PrefillChoice(problem, device.tuning.prefill, for: operation).plan
    }
  }

  /// The mask's own planes, once each.
  private static func blkProblem(_ problem: Problem, _ tile: Tile) -> FlashAttnPrefillBlk.Problem {
    var blk = FlashAttnPrefillBlk.Problem(
      dtype: problem.mask == .bool ? .bool : problem.dtype, queryLength: problem.queryLength,
      keyLength: problem.keyLength, tileRows: tile.BQ, tileKeys: tile.BK)
    (blk.batch, blk.heads) = planes(problem)
    blk.maskStrides = problem.maskStrides
    return blk
  }

  private static func planes(_ problem: Problem) -> (batch: Int, heads: Int) {
    (problem.maskStrides.batch == 0 ? 1 : problem.batch, problem.maskStrides.head == 0 ? 1 : problem.heads)
  }

  private static func reasonAgainstD512(_ problem: Problem, _ tuning: Tuning.Prefill) -> Reason? {
    if problem.headDim != 512 { return { "serves head_dim 512, not \(problem.headDim)" } }
    if problem.dtype != .f16, problem.dtype != .bf16 { return { "serves f16 and bf16, not \(problem.dtype)" } }
    return tuning.d512 ? nil : { "switched off" }
  }

  private static func reasonAgainstBlk(_ problem: Problem, _ tuning: Tuning.Prefill) -> Reason? {
    if problem.mask == .none { return { "there is no mask" } }
    if problem.queryLength < 1 || problem.keyLength < 1 { return { "there is nothing to attend" } }
    switch tuning.blk {
    case .never: return { "switched off" }
    case .always: return nil
    case .auto: break
    }
    if min(problem.queryLength, problem.keyLength) < tuning.blkLength {
      return { "a mask of less than \(tuning.blkLength) rows or keys is not worth a pass" }
    }
    // Counted in floating point: the sizes are yet to be checked.
    let planes = planes(problem)
    let sharing = Double(problem.batch) * Double(problem.heads) / (Double(planes.batch) * Double(planes.heads))
    if sharing < Double(tuning.blkSharing) {
      return { "less than \(tuning.blkSharing) heads share a plane of the mask" }
    }
    return nil
  }

  /// Every kernel that does not run, with its reason.
  var rejected: [JSON] {
    let chosen = Set(plan.passes.map(\.kernel))
    func entries<P>(_ spec: KernelSpec<P>, _ reason: (Variant) -> String) -> [JSON] {
      spec.variants.filter { !chosen.contains($0.kernel) }.map { rejection($0, reason($0)) }
    }
    return entries(FlashAttnPrefill.spec) { variant in
      FlashAttnPrefill.spec.reason(against: variant, for: problem)
        ?? "\(FlashAttnPrefillD512.spec.name) takes more keys at a time"
    }
      + entries(FlashAttnPrefillD512.spec) { variant in
        reasonAgainstD512?() ?? FlashAttnPrefillD512.spec.reason(against: variant, for: problem) ?? ""
      }
      + entries(FlashAttnPrefillBlk.spec) { variant in
        reasonAgainstBlk?() ?? "the mask is not of \(variant.dtype)"
      }
  }
}

/// One kernel that does not run, as JSON.
func rejection(_ variant: Variant, _ reason: String) -> JSON {
  .object([("kernel", .string(variant.kernel)), ("reason", .string(reason))])
}

extension KernelSpec {
  /// Why `variant` cannot serve `problem`; nil if it can.
  func reason(against variant: Variant, for problem: Problem) -> String? {
    let headDim = problem.size(of: .D)
    if let served = variant.headDim, served != headDim { return "serves head_dim \(served), not \(headDim)" }
    if variant.dtype != problem.dtype { return "serves \(variant.dtype), not \(problem.dtype)" }
    guard let mask = variant.mask, let asked = problem.maskKind, mask != (asked == .none ? .additive : asked) else {
      return nil
    }
    return "reads a mask of kind \(mask.rawValue), and the problem's is \(asked.rawValue)"
  }
}
