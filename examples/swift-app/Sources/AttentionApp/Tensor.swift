import FlashAttn

/// A float32 tensor [1, heads, length, headDim] with memory of its own.
final class Tensor {
  let shape: [Int]
  let values: UnsafeMutableBufferPointer<Float>

  init(heads: Int, length: Int, headDim: Int) {
    shape = [1, heads, length, headDim]
    values = .allocate(capacity: heads * length * headDim)
    values.initialize(repeating: 0)
  }

  deinit { values.deallocate() }

  /// Numbers between −1 and 1 that look random and are the same in every run.
  convenience init(heads: Int, length: Int, headDim: Int, seed: UInt64) {
    self.init(heads: heads, length: length, headDim: headDim)
    var state = seed
    for index in values.indices {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      values[index] = Float(Int32(truncatingIfNeeded: state >> 32)) / Float(Int32.max)
    }
  }

  var heads: Int { shape[1] }
  var length: Int { shape[2] }
  var headDim: Int { shape[3] }

  /// The tensor as FlashAttn takes it. The memory must outlive the call.
  var host: HostTensor { HostTensor(data: values.baseAddress, dtype: .f32, shape: shape) }

  subscript(head: Int, row: Int) -> Slice<UnsafeMutableBufferPointer<Float>> {
    let start = (head * length + row) * headDim
    return values[start..<start + headDim]
  }
}

/// The largest difference between two results of the same shape.
func difference(_ a: Tensor, _ b: Tensor) -> Float {
  zip(a.values, b.values).reduce(0) { max($0, abs($1.0 - $1.1)) }
}
