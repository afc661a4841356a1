/// A tensor in host memory, of rank up to 4; its innermost stride is 1.
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

  var sizes: [Int] { (0..<rank).map { shape[$0] } }

  func expectRank(_ ranks: ClosedRange<Int>, _ operation: String, _ name: String) throws(FAError) {
    guard ranks.contains(rank) else {
      let expected = ranks.count == 1 ? "\(ranks.lowerBound)" : "\(ranks.lowerBound) to \(ranks.upperBound)"
      throw .invalid(operation, name, expected: "\(expected) dimensions", got: "\(rank)")
    }
    for index in 0..<rank where shape[index] < 1 {
      throw .invalid(operation, name, expected: "sizes of at least 1", got: "\(sizes)")
    }
  }

  func expectDType(_ dtypes: [DType], _ operation: String, _ name: String) throws(FAError) {
    guard dtypes.contains(dtype) else {
      let expected = dtypes.map(\.description).joined(separator: " or ")
      throw .invalid(operation, name, expected: expected, got: "\(dtype)")
    }
  }

  /// Where the tensor lies, after checking that it can be used as it is.
  func memory(_ operation: String, _ name: String) throws(FAError) -> UnsafeMutableRawBufferPointer {
    guard let data else { throw .invalid(operation, name, expected: "a tensor", got: "none") }
    guard Int(bitPattern: data).isMultiple(of: dtype.byteCount) else {
      throw .invalid(operation, name, expected: "data aligned to \(dtype.byteCount) bytes", got: "\(data)")
    }
    guard shape[rank - 1] == 1 || strides[rank - 1] == 1 else {
      throw .invalid(
        operation, name, expected: "a last dimension of stride 1", got: "stride \(strides[rank - 1])")
    }
    for index in 0..<rank where strides[index] < 0 && shape[index] > 1 {
      throw .invalid(operation, name, expected: "strides that are not negative", got: "\(strides[index])")
    }
    guard let elements = Extent.span((0..<rank).map { (size: shape[$0], stride: $0 == rank - 1 ? 1 : stride($0)) }),
      let bytes = Extent.product([elements, dtype.byteCount])
    else { throw .invalid(operation, name, expected: "less than 2^63 bytes", got: "\(sizes)") }
    return UnsafeMutableRawBufferPointer(start: data, count: bytes)
  }

  /// The stride of a dimension; 0 where its size makes it meaningless.
  func stride(_ index: Int) -> Int { shape[index] == 1 ? 0 : strides[index] }
}
