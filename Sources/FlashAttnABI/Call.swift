import CFlashAttn
import FlashAttn

/// Runs the body of one C function: its error becomes the status and the thread's last error.
func call(_ body: () throws(FAError) -> Void) -> fa_status {
  do {
    try body()
    return FA_OK
  } catch {
    cfa_set_last_error(error.operation, error.argument, error.description, error.log)
    return fa_status(rawValue: error.code.rawValue)
  }
}

/// Stores a result through a pointer of the caller.
func store<Value>(_ value: Value, _ out: UnsafeMutablePointer<Value>?, _ operation: String) throws(FAError) {
  guard let out else { throw .null(operation, "out") }
  out.pointee = value
}

/// Makes a handle for `object` and stores it through a pointer of the caller; `out` is checked before `make` runs.
func store<Object: HandleObject>(
  handleOf make: () throws(FAError) -> Object, _ out: UnsafeMutablePointer<OpaquePointer?>?, _ operation: String
) throws(FAError) {
  guard let out else { throw .null(operation, "out") }
  out.pointee = try Handles.make(try make(), operation)
}

/// Runs the body of one explain function: its text is kept in the thread's `slot` and lent to the caller.
func explain(
  _ device: OpaquePointer?, _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>?, _ slot: cfa_slot, _ operation: String,
  _ body: (Device) throws(FAError) -> String
) -> fa_status {
  call { () throws(FAError) in
    let report = try body(FlashAttnABI.device(device, operation))
    try store(cfa_keep_string(slot, report, report.utf8.count), out, operation)
  }
}

/// What a pointer of the caller points at.
func load<Value>(_ pointer: UnsafePointer<Value>?, _ operation: String, _ argument: String) throws(FAError) -> Value {
  guard let pointer else { throw .null(operation, argument) }
  return pointer.pointee
}

func text(_ pointer: UnsafePointer<CChar>?, _ operation: String, _ argument: String) throws(FAError) -> String {
  guard let pointer else { throw .null(operation, argument) }
  return String(cString: pointer)
}

/// `count` elements at a pointer of the caller, which may be null if there are none.
func elements<Element>(
  _ pointer: UnsafePointer<Element>?, _ count: Int32, _ operation: String, _ argument: String
) throws(FAError) -> UnsafeBufferPointer<Element> {
  guard (0...65536).contains(count) else {
    throw .refused(operation, "\(argument)_count", expected: "0 to 65536", got: "\(count)")
  }
  if count > 0, pointer == nil { throw .null(operation, argument) }
  return UnsafeBufferPointer(start: pointer, count: Int(count))
}

/// A caller's numbers, one for each of up to `most` sequences, and `extra` ones behind them.
func counts(
  _ pointer: UnsafePointer<Int64>?, _ batch: Int64, extra: Int = 0, most: Int = 1024, _ operation: String,
  _ argument: String
) throws(FAError) -> [Int] {
  guard (1...Int64(most)).contains(batch) else {
    throw .refused(operation, "batch", expected: "1 to \(most)", got: "\(batch)")
  }
  guard let pointer else { throw .null(operation, argument) }
  return (0..<Int(batch) + extra).map { Int(pointer[$0]) }
}

func shape(_ sizes: UnsafePointer<Int64>?, _ rank: Int32, _ operation: String) throws(FAError) -> [Int] {
  guard (1...Int32(maximumRank)).contains(rank) else {
    throw .refused(operation, "rank", expected: "1 to \(maximumRank)", got: "\(rank)")
  }
  return try elements(sizes, rank, operation, "shape").map { Int($0) }
}

func byteCount(_ value: UInt64, _ operation: String, _ argument: String) throws(FAError) -> Int {
  guard let count = Int(exactly: value) else {
    throw .refused(operation, argument, expected: "less than 2^63", got: "\(value)")
  }
  return count
}

/// The case of a Swift enum that a C enum's value stands for.
func choice<Choice: RawRepresentable & CaseIterable>(
  _ value: UInt32, as type: Choice.Type, _ operation: String, _ argument: String
) throws(FAError) -> Choice where Choice.RawValue == UInt32 {
  guard let choice = Choice(rawValue: value) else {
    throw .refused(operation, argument, expected: "0 to \(Choice.allCases.count - 1)", got: "\(value)")
  }
  return choice
}

func dtype(_ value: fa_dtype, _ operation: String, _ argument: String = "dtype") throws(FAError) -> DType {
  try choice(value.rawValue, as: DType.self, operation, argument)
}

extension FAError {
  static func null(_ operation: String, _ argument: String) -> FAError {
    refused(operation, argument, expected: "a pointer", got: "null")
  }

  static func refused(_ operation: String, _ argument: String, expected: String, got: String) -> FAError {
    FAError(.invalidArgument, operation, argument, "expected \(expected), got \(got)")
  }
}
