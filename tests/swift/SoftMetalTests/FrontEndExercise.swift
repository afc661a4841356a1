@testable import SoftMetal

/// Sends a preprocessed text through the whole front end: what the fuzzer does, and the tests with its corpus.
/// Any text must give a module or an error, never a trap.
enum FrontEndExercise {
  /// Whether the text was taken.
  @discardableResult
  static func run(_ text: String) -> Bool {
    do throws(ShaderError) {
      let module = try ShaderModule(preprocessed: text)
      _ = try module.translateForCheck()
      _ = try module.translateForProbe()
      // A kernel's translation reads the whole text, so of many kernels a few are enough.
      for function in module.functions.prefix(16) {
        // Every constant gets a value of its type, zeros: which value does not matter to the front end's own safety.
        let values = module.constants(usedBy: function.name).compactMap { constant, _ in
          constant.type.byteCount.map {
            ConstantValue(index: constant.index, type: constant.type, bytes: Array(repeating: 0, count: $0))
          }
        }
        for lockstep in [false, true] {
          _ = try module.translate(
            function.name, constants: values, flavour: ShaderFlavour(lockstep: lockstep, checked: false))
        }
      }
      return true
    } catch {
      // A refusal is the right answer to most inputs; it must say where.
      precondition(!error.message.isEmpty && error.line >= 0, "an error without text or place")
      return false
    }
  }
}
