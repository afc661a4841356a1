/// Floating literals in C++: Metal has no double, so one without a suffix is a float; halves and bfloats have suffixes
/// that C++ does not know.
enum Literals {
  static func translate(_ literal: String) -> String {
    let lower = literal.lowercased()
    let isHex = lower.hasPrefix("0x")
    let isFloating = isHex ? lower.contains("p") : lower.contains(".") || lower.contains("e")
    if lower.contains("_") { return literal }
    if lower.hasSuffix("bf"), !isHex || isFloating { return cast("bfloat", literal.dropLast(2), isFloating) }
    if lower.hasSuffix("h"), !isHex || isFloating { return cast("half", literal.dropLast(), isFloating) }
    guard isFloating else { return literal }
    if lower.hasSuffix("f") { return literal }
    return literal + "f"
  }

  /// What is wrong with a literal.
  static func complaint(_ literal: String) -> String? {
    let lower = literal.lowercased()
    if lower.contains("_") { return nil }
    let isHex = lower.hasPrefix("0x")
    let isFloating = isHex ? lower.contains("p") : lower.contains(".") || lower.contains("e")
    if isFloating, lower.hasSuffix("l") { return "'long double' is not supported in Metal" }
    return lower.contains("ll") ? "'long long' is not supported in Metal" : nil
  }

  /// Both types are narrow enough for a float to hold what decides the rounding of any literal written by hand.
  private static func cast(_ type: String, _ digits: Substring, _ isFloating: Bool) -> String {
    "((\(type))\(digits)\(isFloating ? "" : ".0")f)"
  }
}
