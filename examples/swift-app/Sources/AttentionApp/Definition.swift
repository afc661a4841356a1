#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

/// Causal attention as it is defined, to compare with: the last query stands at the last key.
func definition(q: Tensor, k: Tensor, v: Tensor) -> Tensor {
  let out = Tensor(heads: q.heads, length: q.length, headDim: q.headDim)
  let group = q.heads / k.heads
  let scale = 1 / Float(q.headDim).squareRoot()
  for head in 0..<q.heads {
    for row in 0..<q.length {
      let query = q[head, row]
      let keys = 0...row + k.length - q.length
      let scores = keys.map { key in
        scale * zip(query, k[head / group, key]).reduce(0) { $0 + $1.0 * $1.1 }
      }
      let largest = scores.max() ?? 0
      let weights = scores.map { exp($0 - largest) }
      let total = weights.reduce(0, +)
      for (key, weight) in zip(keys, weights) {
        for (column, value) in v[head / group, key].enumerated() {
          out.values[(head * q.length + row) * q.headDim + column] += weight / total * value
        }
      }
    }
  }
  return out
}
