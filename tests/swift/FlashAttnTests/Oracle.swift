import FlashAttn

/// Attention in double precision, straight from its definition.
struct Oracle {
  let problem: FlashAttnPrefill.Problem
  let q: [Float]
  let k: [Float]
  let v: [Float]
  /// Added to the scaled score of (batch, head, row, key).
  var bias: (Int, Int, Int, Int) -> Double = { _, _, _, _ in 0 }

  /// Output [B, H, qL, D] and LSE [B, H, qL].
  func callAsFunction() -> (o: [Double], lse: [Double]) {
    let (B, H, Hkv, D) = (problem.batch, problem.heads, problem.kvHeads, problem.headDim)
    let (qL, kL) = (problem.queryLength, problem.keyLength)
    let offset = problem.queryOffset ?? kL - qL
    var o: [Double] = []
    var lse: [Double] = []
    for b in 0..<B {
      for h in 0..<H {
        for i in 0..<qL {
          let kv = (b * Hkv + h / (H / Hkv)) * kL
          let row = ((b * H + h) * qL + i) * D
          let scores = (0..<kL).map { j in
            if problem.causal, j > i + offset { return -Double.infinity }
            let dot = (0..<D).reduce(0.0) { $0 + Double(q[row + $1]) * Double(k[(kv + j) * D + $1]) }
            return dot * Double(problem.scale) + bias(b, h, i, j)
          }
          let top = scores.max() ?? -.infinity
          guard top > -.infinity else {
            o += Array(repeating: 0, count: D)
            lse.append(-.infinity)
            continue
          }
          let weights = scores.map { exponential($0 - top) }
          let sum = weights.reduce(0, +)
          for d in 0..<D {
            o.append((0..<kL).reduce(0.0) { $0 + weights[$1] * Double(v[(kv + $1) * D + d]) } / sum)
          }
          lse.append(top + logarithm(sum))
        }
      }
    }
    return (o, lse)
  }
}

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#endif

private func exponential(_ x: Double) -> Double { exp(x) }
private func logarithm(_ x: Double) -> Double { log(x) }
