/// The last plan that was made, for whoever wants the same again: sizes of scratch memory and then the work, keys and
/// then values, layer after layer. Plans go by a device's tuning, so each device has its own.
final class PlanMemo<Problem: KernelProblem & Equatable>: Sendable {
  private let last = Locked<(problem: Problem, operation: String, plan: Plan)?>(nil)

  /// What `make` returns for the problem, or has returned.
  ///
  /// - Parameter operation: what errors name, which plans have in them.
  func plan(
    _ problem: Problem, for operation: String, _ make: () throws(FAError) -> Plan
  ) throws(FAError) -> Plan {
    let known: Plan? = last.withLock { last in
      guard let last, last.operation == operation, last.problem == problem else { return nil }
      return last.plan
    }
    if let known { return known }
    let plan = try make()
    last.withLock { $0 = (problem, operation, plan) }
    return plan
  }
}

/// The rooms that programs ask for layer after layer.
struct PlanMemos: Sendable {
  let prefill = PlanMemo<FlashAttnPrefill.Problem>()
  let decode = PlanMemo<FlashAttnDecode.Problem>()
  let kvEncode = PlanMemo<KvEncode.Problem>()
}
