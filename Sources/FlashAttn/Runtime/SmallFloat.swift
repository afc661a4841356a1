/// A 16-bit floating-point format, for constants: Swift's own Float16 is missing on some machines, bfloat16 on all.
struct SmallFloat {
  let fractionBits: Int
  let exponentBits: Int

  static let half = SmallFloat(fractionBits: 10, exponentBits: 5)
  static let bfloat = SmallFloat(fractionBits: 7, exponentBits: 8)

  /// The bits of the number nearest to `value`, ties to even.
  func bits(of value: Double) -> UInt16 {
    let sign: UInt16 = value.sign == .minus ? 0x8000 : 0
    let infinity = UInt16((1 << exponentBits) - 1) << fractionBits
    guard !value.isNaN else { return sign | infinity | 1 << (fractionBits - 1) }
    let bias = (1 << (exponentBits - 1)) - 1
    let magnitude = value.magnitude
    guard magnitude.isFinite else { return sign | infinity }
    guard magnitude > 0 else { return sign }
    // Subnormal numbers share the least exponent, so the spacing of neighbours stops shrinking there.
    let exponent = max(Int(magnitude.exponent), 1 - bias)
    let steps = (magnitude * Double(sign: .plus, exponent: fractionBits - exponent, significand: 1))
      .rounded(.toNearestOrEven)
    guard steps < Double(1 << (fractionBits + 2)) else { return sign | infinity }
    let stored = Int(steps) + (exponent + bias - 1) << fractionBits
    return sign | (stored >= Int(infinity) ? infinity : UInt16(stored))
  }
}
