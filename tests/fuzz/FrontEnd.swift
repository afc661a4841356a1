// The entry of `make fuzz`: any bytes must give a module or an error, never a trap, and in reasonable time.
// Compiled together with the sources of SoftMetal, because the front end is not public.

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFrontEnd(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let text = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
  do throws(ShaderError) {
    let module = try ShaderModule(preprocessed: text)
    _ = try module.translateForCheck()
    for function in module.functions {
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
  } catch {
    // A refusal is the right answer to most inputs; it must say where.
    precondition(!error.message.isEmpty && error.line >= 0, "an error without text or place")
  }
  return 0
}
