// The entry of `make fuzz`: any bytes must give a module or an error, never a trap, and in reasonable time.
// Compiled together with the sources of SoftMetal, because the front end is not public.

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFrontEnd(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  FrontEndExercise.run(String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self))
  return 0
}
