/// A tensor in host memory, of rank up to 4.
public struct HostTensor: @unchecked Sendable {
  /// The first element; nil where there is no tensor.
  public var data: UnsafeMutableRawPointer?
  public var dtype: DType
  public var rank: Int
  /// Sizes, outermost first; beyond the rank without meaning.
  public var shape: SIMD4<Int>
  /// Elements between neighbours along each dimension.
  public var strides: SIMD4<Int>
  public var isReadOnly: Bool
  /// Whose memory it is, where a device has it already.
  private(set) var buffer: Buffer?

  public init(
    data: UnsafeMutableRawPointer?, dtype: DType, rank: Int, shape: SIMD4<Int>, strides: SIMD4<Int>,
    isReadOnly: Bool = false
  ) {
    self.data = data
    self.dtype = dtype
    self.rank = rank
    self.shape = shape
    self.strides = strides
    self.isReadOnly = isReadOnly
  }

  /// A contiguous tensor.
  public init(data: UnsafeMutableRawPointer?, dtype: DType, shape: [Int], isReadOnly: Bool = false) {
    self.init(
      data: data, dtype: dtype, rank: shape.count, shape: .zero, strides: .zero, isReadOnly: isReadOnly)
    var stride = 1
    for index in shape.indices.reversed() where index < 4 {
      self.shape[index] = shape[index]
      strides[index] = stride
      stride = stride &* shape[index]
    }
  }

  /// The elements of a buffer.
  public init(_ buffer: Buffer, _ operation: String, _ name: String) throws(FAError) {
    guard (1...4).contains(buffer.shape.count) else {
      throw .invalid(operation, name, expected: "1 to 4 dimensions", got: "\(buffer.shape.count)")
    }
    self.init(data: try buffer.hostPointer(), dtype: buffer.dtype, shape: buffer.shape)
    self.buffer = buffer
  }

  var sizes: [Int] { (0..<rank).map { shape[$0] } }

  /// - Parameter lengths: dimensions whose size may be 0.
  func expectRank(
    _ ranks: ClosedRange<Int>, _ operation: String, _ name: String, lengths: [Int] = []
  ) throws(FAError) {
    guard ranks.contains(rank) else {
      let expected = ranks.count == 1 ? "\(ranks.lowerBound)" : "\(ranks.lowerBound) to \(ranks.upperBound)"
      throw .invalid(operation, name, expected: "\(expected) dimensions", got: "\(rank)")
    }
    for index in 0..<rank where shape[index] < (lengths.contains(index) ? 0 : 1) {
      throw .invalid(operation, name, expected: "sizes of at least 1", got: "\(sizes)")
    }
  }

  func expectDType(_ dtypes: [DType], _ operation: String, _ name: String) throws(FAError) {
    guard dtypes.contains(dtype) else {
      let expected = dtypes.map(\.description).joined(separator: " or ")
      throw .invalid(operation, name, expected: expected, got: "\(dtype)")
    }
  }

  /// Where the tensor lies, after checking that it can be used: as it is, or packed first.
  ///
  /// - Parameter packs: whether its elements may lie anywhere; else the last dimension has stride 1 and no stride is
  ///   negative.
  func memory(_ operation: String, _ name: String, packs: Bool = false) throws(FAError) -> UnsafeMutableRawBufferPointer
  {
    for index in 0..<rank where shape[index] == 0 { return UnsafeMutableRawBufferPointer(start: data, count: 0) }
    guard let data else { throw .invalid(operation, name, expected: "a tensor", got: "none") }
    guard Int(bitPattern: data).isMultiple(of: dtype.byteCount) else {
      throw .invalid(operation, name, expected: "data aligned to \(dtype.byteCount) bytes", got: "\(data)")
    }
    if !packs {
      guard shape[rank - 1] == 1 || strides[rank - 1] == 1 else {
        throw .invalid(
          operation, name, expected: "a last dimension of stride 1", got: "stride \(strides[rank - 1])")
      }
      for index in 0..<rank where stride(index) < 0 {
        throw .invalid(operation, name, expected: "strides that are not negative", got: "\(strides[index])")
      }
    }
    // Elements lie on either side of the first one, as far as the strides of each sign go.
    var (before, after, overflow) = (0, dtype.byteCount, false)
    func add(_ distance: Int, to reach: inout Int) {
      let (bytes, tooFar) = distance.multipliedReportingOverflow(by: dtype.byteCount)
      let (sum, tooMuch) = reach.addingReportingOverflow(bytes)
      reach = sum
      overflow = overflow || tooFar || tooMuch
    }
    for index in 0..<rank {
      let (distance, tooFar) = (shape[index] - 1).multipliedReportingOverflow(by: stride(index))
      overflow = overflow || tooFar || distance == Int.min
      if overflow { break }
      if distance < 0 { add(-distance, to: &before) } else { add(distance, to: &after) }
    }
    let (count, tooMuch) = before.addingReportingOverflow(after)
    guard !overflow, !tooMuch else {
      throw .invalid(operation, name, expected: "less than 2^63 bytes", got: "\(sizes)")
    }
    return UnsafeMutableRawBufferPointer(start: data - before, count: count)
  }

  /// The stride of a dimension; 0 where its size makes it meaningless.
  func stride(_ index: Int) -> Int { shape[index] <= 1 ? 0 : strides[index] }

  /// Whether no kernel can follow its strides.
  var needsPacking: Bool {
    if shape[rank - 1] > 1, strides[rank - 1] != 1 { return true }
    for index in 0..<rank where stride(index) < 0 { return true }
    return false
  }

  /// What a contiguous copy looks like in which nothing that broadcasts is repeated but along the last dimension.
  var packed: HostTensor {
    HostTensor(
      data: nil, dtype: dtype, shape: (0..<rank).map { $0 < rank - 1 && stride($0) == 0 ? 1 : shape[$0] })
  }

  /// The same tensor with a last dimension of `size`, broadcast if it was 1.
  func expanded(to size: Int) -> HostTensor {
    var tensor = self
    if shape[rank - 1] == 1, size > 1 {
      tensor.shape[rank - 1] = size
      tensor.strides[rank - 1] = 0
    }
    return tensor
  }

  /// Writes a contiguous copy to `target`, which has room for `packed`.
  func pack(into target: UnsafeMutableRawPointer) {
    guard let data else { return }
    switch dtype.byteCount {
    case 1: pack(data.assumingMemoryBound(to: UInt8.self), target.assumingMemoryBound(to: UInt8.self))
    case 2: pack(data.assumingMemoryBound(to: UInt16.self), target.assumingMemoryBound(to: UInt16.self))
    default: pack(data.assumingMemoryBound(to: UInt32.self), target.assumingMemoryBound(to: UInt32.self))
    }
  }

  private func pack<Element>(_ source: UnsafeMutablePointer<Element>, _ target: UnsafeMutablePointer<Element>) {
    var next = target
    let (last, copy) = (rank - 1, packed.shape)
    let (count, step) = (copy[last], strides[last])
    func walk(_ dimension: Int, _ element: Int) {
      guard dimension == last else {
        for index in 0..<copy[dimension] { walk(dimension + 1, element + index * stride(dimension)) }
        return
      }
      let row = source + element
      for index in 0..<count { next[index] = row[index &* step] }
      next += count
    }
    walk(0, 0)
  }
}
