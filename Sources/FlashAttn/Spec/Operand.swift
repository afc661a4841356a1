/// A buffer argument of a kernel: where it is bound, what it must hold, and when it is there.
struct Operand<Problem: KernelProblem>: Sendable {
  enum DTypeRule: Sendable {
    /// The problem's own.
    case io
    /// Always this one.
    case fixed(DType)
    /// What the problem's mask kind asks for.
    case mask
    /// What the problem's cache formats ask for.
    case cache(@Sendable (Problem) -> DType)

    func choices(_ problem: Problem) -> [DType] {
      switch self {
      case .io: problem.dtype == .bool ? [.bool, .u8] : [problem.dtype]
      case .fixed(let dtype): [dtype]
      case .mask: problem.maskKind == .bool ? [.bool, .u8] : [problem.dtype]
      case .cache(let choose): [choose(problem)]
      }
    }

    var text: String {
      switch self {
      case .io: "io"
      case .fixed(let dtype): "\(dtype)"
      case .mask: "mask"
      case .cache: "cache"
      }
    }
  }

  let slot: Int
  let name: String
  let access: Access
  let dtype: DTypeRule
  /// Outermost first.
  let shape: [Dim]
  /// The bool constant that says it is there, nil if it always is.
  var guardConstant: Int?
  var isPresent: @Sendable (Problem) -> Bool = { _ in true }
  /// Strides of a tensor of rank 4; contiguous if nil.
  var strides: (@Sendable (Sizes<Problem>) -> Strides)?
  /// Its sizes, with those strides, where they are not `shape`; nil where they are.
  var stridedSizes: @Sendable (Problem) -> [Int]? = { _ in nil }
  /// What it holds instead where that is not `shape`; nil where it is.
  var extents: @Sendable (Problem) -> [Int]? = { _ in nil }

  /// Whether the last two dimensions count tiles, so that only a buffer cut into the same tiles can serve.
  var isTiled: Bool { shape.last == .NK && shape.dropLast().last == .NQ }

  func sizes(_ all: Sizes<Problem>) -> [Int] {
    extents(all.problem) ?? stridedSizes(all.problem) ?? shape.map { all($0) }
  }

  /// The bytes from the operand's first element to its last.
  ///
  /// - Parameter sizes: its own, of all.
  func byteCount(_ sizes: [Int], of all: Sizes<Problem>, _ operation: String) throws(FAError) -> Int {
    let problem = all.problem
    for size in sizes where size == 0 { return 0 }
    // Without overflow here no stride derived from the sizes has wrapped around.
    guard var elements = Extent.product(sizes), elements <= Int.max / 8 else { throw tooLarge(sizes, operation) }
    if extents(problem) == nil, let strides = strides?(all) {
      guard strides.batch >= 0, strides.head >= 0, strides.row >= 0 else {
        throw .invalid(operation, "\(name)_strides", expected: "strides that are not negative", got: "\(strides.outer)")
      }
      guard let span = Extent.span(sizes, strides) else { throw tooLarge(sizes, operation) }
      if access.writes { try checkDistinct(sizes, strides.outer, operation) }
      elements = span
    }
    guard let bytes = Extent.product([elements, dtype.choices(problem)[0].byteCount]) else {
      throw tooLarge(sizes, operation)
    }
    return bytes
  }

  /// Refuses strides under which two elements of an output are one.
  private func checkDistinct(_ sizes: [Int], _ strides: [Int], _ operation: String) throws(FAError) {
    var reach = sizes[3]
    for (size, stride) in zip(sizes, strides).sorted(by: { $0.1 < $1.1 }) where size > 1 {
      guard stride >= reach else {
        throw .invalid(
          operation, "\(name)_strides", expected: "strides that keep elements apart", got: "\(strides) for \(sizes)")
      }
      reach += stride * (size - 1)  // at most the span, which has been counted
    }
  }

  private func tooLarge(_ sizes: [Int], _ operation: String) -> FAError {
    .invalid(operation, name, expected: "a tensor of less than 2^60 elements", got: "\(sizes)")
  }
}

/// A condition on a problem, and the error where it does not hold.
struct Rule<Problem: KernelProblem>: Sendable {
  let check: @Sendable (_ problem: Problem, _ operation: String) throws(FAError) -> Void

  /// Sizes from 1 to 2³¹ − 1, as the kernels' 32-bit parameters can carry.
  static func sizes(_ dims: Dim..., from least: Int = 1) -> Rule {
    Rule { problem, operation throws(FAError) in
      for dim in dims {
        let size = problem.size(of: dim)
        guard (least...Int(Int32.max)).contains(size) else {
          throw .invalid(operation, dim.argument, expected: "\(least) to \(Int32.max)", got: "\(size)")
        }
      }
    }
  }

  static func divides(_ divisor: Dim, _ dividend: Dim) -> Rule {
    Rule { problem, operation throws(FAError) in
      let (part, whole) = (problem.size(of: divisor), problem.size(of: dividend))
      guard whole.isMultiple(of: part) else {
        throw .invalid(
          operation, divisor.argument, expected: "a divisor of \(dividend.argument) = \(whole)", got: "\(part)")
      }
    }
  }

  /// A factor that is neither 0, infinite nor NaN.
  static func factor(_ argument: String, _ value: @escaping @Sendable (Problem) -> Float) -> Rule {
    Rule { problem, operation throws(FAError) in
      guard value(problem).isFinite, value(problem) != 0 else {
        throw .invalid(operation, argument, expected: "a finite number other than 0", got: "\(value(problem))")
      }
    }
  }
}
