import CFlashAttn
import FlashAttn

/// What a handle stands for.
enum HandleKind: UInt, Sendable, CustomStringConvertible {
  case device = 1
  case buffer, pool, registry, encoder, capture, kvCache

  /// As in the C types.
  var description: String {
    switch self {
    case .device: "device"
    case .buffer: "buffer"
    case .pool: "pool"
    case .registry: "registry"
    case .encoder: "encoder"
    case .capture: "capture"
    case .kvCache: "kv_cache"
    }
  }
}

/// An object that C callers hold by handle.
protocol HandleObject: AnyObject, Sendable {
  static var kind: HandleKind { get }
}

extension Buffer: HandleObject { static var kind: HandleKind { .buffer } }
extension BufferPool: HandleObject { static var kind: HandleKind { .pool } }
extension KernelRegistry: HandleObject { static var kind: HandleKind { .registry } }
extension CommandEncoder: HandleObject { static var kind: HandleKind { .encoder } }
extension KVCache: HandleObject { static var kind: HandleKind { .kvCache } }

/// The handles that are out: numbers dressed as pointers, looked up and never followed, so that a null, released or
/// foreign one is an error and not a crash.
///
/// A handle is generation (32 bits), index (24), kind (4) and four zero bits. The generation of a slot grows with every
/// release, so an old handle does not come to life again with the slot's next object.
enum Handles {
  private struct Slot {
    var generation: UInt32 = 0
    var references = 0
    /// Of the object, while there is one.
    var kind = HandleKind.device
    var object: (any HandleObject)?
  }

  private struct Table {
    var slots: [Slot] = []
    var free: [Int] = []
  }

  private static let table = Locked(Table())
  private static let indexLimit = 1 << 24

  static func make<Object: HandleObject>(_ object: Object, _ operation: String) throws(FAError) -> OpaquePointer {
    let handle: OpaquePointer? = table.withLock { table in
      let index = table.free.popLast() ?? table.slots.count
      guard index < indexLimit else { return nil }
      if index == table.slots.count { table.slots.append(Slot()) }
      table.slots[index].references = 1
      table.slots[index].kind = Object.kind
      table.slots[index].object = object
      let bits = UInt(table.slots[index].generation) << 32 | UInt(index) << 8 | Object.kind.rawValue << 4
      return OpaquePointer(bitPattern: bits)
    }
    guard let handle else {
      throw FAError(.allocationFailed, operation, "", "more than \(indexLimit) handles are alive; release some")
    }
    return handle
  }

  static func get<Object: HandleObject>(
    _ handle: OpaquePointer?, as type: Object.Type, _ operation: String, _ argument: String
  ) throws(FAError) -> Object {
    let found: (any HandleObject)? = table.withLock { table in
      index(of: handle, Object.kind, table).flatMap { table.slots[$0].object }
    }
    guard let found else { throw refusal(handle, Object.kind, operation, argument) }
    return unsafeDowncast(found, to: Object.self)  // its kind is that of the slot
  }

  static func retain(_ handle: OpaquePointer?, _ kind: HandleKind, _ operation: String) throws(FAError) {
    let done = table.withLock { table in
      guard let index = index(of: handle, kind, table) else { return false }
      table.slots[index].references += 1
      return true
    }
    guard done else { throw refusal(handle, kind, operation, "\(kind)") }
  }

  static func release(_ handle: OpaquePointer?, _ kind: HandleKind, _ operation: String) throws(FAError) {
    // The object dies outside the lock: its end may release others.
    let (done, dying): (Bool, (any HandleObject)?) = table.withLock { table in
      guard let index = index(of: handle, kind, table) else { return (false, nil) }
      table.slots[index].references -= 1
      guard table.slots[index].references == 0 else { return (true, nil) }
      defer {
        table.slots[index].object = nil
        table.slots[index].generation &+= 1
        table.free.append(index)
      }
      return (true, table.slots[index].object)
    }
    guard done else { throw refusal(handle, kind, operation, "\(kind)") }
    withExtendedLifetime(dying) {}
  }

  private static func index(of handle: OpaquePointer?, _ kind: HandleKind, _ table: Table) -> Int? {
    let bits = UInt(bitPattern: handle)
    let index = Int(bits >> 8 & 0xFF_FFFF)
    guard bits & 0xFF == kind.rawValue << 4, index < table.slots.count, table.slots[index].kind == kind,
      table.slots[index].generation == UInt32(truncatingIfNeeded: bits >> 32), table.slots[index].references > 0
    else { return nil }
    return index
  }

  private static func refusal(
    _ handle: OpaquePointer?, _ kind: HandleKind, _ operation: String, _ argument: String
  ) -> FAError {
    let got =
      switch HandleKind(rawValue: UInt(bitPattern: handle) >> 4 & 0xF) {
      case _ where handle == nil: "null"
      case kind: "a released one"
      case let other?: "a handle of \(other)"
      case nil: "no handle of this library"
      }
    return .refused(operation, argument, expected: "a live fa_\(kind) handle", got: got)
  }
}
