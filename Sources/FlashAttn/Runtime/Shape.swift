/// The most dimensions a buffer can have.
public let maximumRank = Int(FA_MAX_RANK)

/// Products and extents of caller-supplied sizes, never wrapping around.
enum Extent {
  /// The product of `sizes`, nil on overflow.
  static func product(_ sizes: some Sequence<Int>) -> Int? {
    var total = 1
    for size in sizes {
      let (value, overflow) = total.multipliedReportingOverflow(by: size)
      if overflow { return nil }
      total = value
    }
    return total
  }

  /// How many elements a tensor of rank 4 spans, from its first to its last; nil on overflow. Sizes are positive,
  /// strides are not negative.
  static func span(_ sizes: [Int], _ strides: Strides) -> Int? {
    var count = sizes[3]
    for (dim, stride) in strides.outer.enumerated() {
      let (step, tooFar) = (sizes[dim] - 1).multipliedReportingOverflow(by: stride)
      let (sum, overflow) = count.addingReportingOverflow(step)
      if tooFar || overflow { return nil }
      count = sum
    }
    return count
  }

  /// Bytes of a contiguous tensor, after checking that its shape makes sense.
  static func byteCount(_ shape: [Int], _ dtype: DType, operation: String) throws(FAError) -> Int {
    guard (1...maximumRank).contains(shape.count) else {
      throw .invalid(operation, "shape", expected: "1 to \(maximumRank) dimensions", got: "\(shape.count)")
    }
    guard shape.allSatisfy({ $0 > 0 }) else {
      throw .invalid(operation, "shape", expected: "positive sizes", got: "\(shape)")
    }
    guard let count = product(shape), let bytes = product([count, dtype.byteCount]) else {
      throw .invalid(operation, "shape", expected: "a tensor of less than 2^63 bytes", got: "\(shape) \(dtype)")
    }
    return bytes
  }
}
