import CSoftMetal

/// A kernel's grid, as `sm_dispatch` counts it.
struct Grid {
  var threadgroups: (UInt32, UInt32, UInt32)
  var gridThreads: (UInt32, UInt32, UInt32)
  var threads: (UInt32, UInt32, UInt32)
}

/// One dispatch; its bindings are `bindings` and `threadgroupBytes` of the list.
struct DispatchCommand {
  var pipeline: Unmanaged<SoftPipeline>
  var grid: Grid
  var bindings: Range<Int>
  var threadgroupBytes: Range<Int>
  /// Nil for a dispatch that overlaps no other, or is not checked.
  var overlap: Unmanaged<Overlap>?
}

/// What the checks remember of dispatches that may overlap: those of one concurrent encoder, between its barriers.
final class Overlap {
  let history = sm_check_history_create()
  deinit { sm_check_history_destroy(history) }
}

enum Command {
  case dispatch(DispatchCommand)
  /// The grid's threadgroups are read from memory.
  case indirectDispatch(DispatchCommand, UnsafeRawPointer)
  case copy(from: UnsafeRawPointer, to: UnsafeMutableRawPointer, bytes: Int)
  case fill(UnsafeMutableRawPointer, bytes: Int, value: UInt8)
  /// A barrier, for these bytes or, without any, for all memory.
  case barrier(Unmanaged<Overlap>, UnsafeRawPointer?, bytes: Int)
  case wait(Unmanaged<EventValue>, UInt64)
  case signal(Unmanaged<EventValue>, UInt64)
}

/// What was encoded: plain values in a few arrays, and what keeps the memory they point to alive.
struct CommandList: ~Copyable {
  struct Binding {
    var slot: Int
    var value: sm_binding
    /// `SoftBuffer.written`, from the first bound byte.
    var written: UnsafeMutablePointer<UInt8>?
  }
  private struct Unretained { weak var buffer: SoftBuffer? }
  /// The objects of one dispatch: a pipeline and its buffers.
  private static let commonlyKept = 12

  private(set) var commands: [Command] = []
  private(set) var bindings: [Binding] = []
  private(set) var threadgroupBytes: [(slot: Int, bytes: UInt64)] = []
  private var kept: [AnyObject] = []
  private var unretained: [Unretained] = []
  private var inline = InlineBytes()

  mutating func append(_ command: Command) { commands.append(command) }

  /// Puts the commands from `first` on in another order than they are in.
  mutating func reorder(from first: Int, seed: UInt64) {
    var generator = SplitMix64(state: seed)
    let order = Array(first..<commands.count).shuffled(using: &generator)
    let moved = order.elementsEqual(first..<commands.count) ? order.reversed() : order
    commands.replaceSubrange(first..., with: moved.map { commands[$0] })
  }
  mutating func append(_ binding: Binding) { bindings.append(binding) }
  /// For the bindings of one more dispatch.
  mutating func reserveBindings(_ count: Int) {
    if bindings.isEmpty { bindings.reserveCapacity(count) }
  }
  mutating func appendThreadgroupBytes(_ bytes: UInt64, slot: Int) { threadgroupBytes.append((slot, bytes)) }

  mutating func keep(_ object: AnyObject) {
    if kept.isEmpty { kept.reserveCapacity(Self.commonlyKept) }
    kept.append(object)
  }
  mutating func remember(_ buffer: SoftBuffer) { unretained.append(Unretained(buffer: buffer)) }

  mutating func copyBytes(_ bytes: UnsafeRawPointer, count: Int) -> UnsafeMutableRawPointer {
    inline.copy(bytes, count: count)
  }

  /// The buffers bound without retained references; nil if one of them is gone.
  func livingBuffers() -> [SoftBuffer]? {
    let living = unretained.compactMap(\.buffer)
    return living.count == unretained.count ? living : nil
  }
}

/// Numbers that look random and are the same for the same seed.
private struct SplitMix64: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var x = (state ^ state >> 30) &* 0xbf58_476d_1ce4_e5b9
    x = (x ^ x >> 27) &* 0x94d0_49bb_1331_11eb
    return x ^ x >> 31
  }
}

/// Memory for `setBytes`. What was copied stays where it is.
private struct InlineBytes: ~Copyable {
  private static let alignment = 16
  private var chunks: [UnsafeMutableRawPointer] = []
  private var next = 0
  private var capacity = 0

  mutating func copy(_ bytes: UnsafeRawPointer, count: Int) -> UnsafeMutableRawPointer {
    let room = (count + Self.alignment - 1) / Self.alignment * Self.alignment
    if chunks.isEmpty || room > capacity - next {
      capacity = max(chunks.isEmpty ? 1024 : 16384, room)
      next = 0
      chunks.append(.allocate(byteCount: capacity, alignment: Self.alignment))
    }
    let place = chunks[chunks.count - 1] + next
    next += room
    place.copyMemory(from: bytes, byteCount: count)
    return place
  }

  deinit {
    for chunk in chunks { chunk.deallocate() }
  }
}
