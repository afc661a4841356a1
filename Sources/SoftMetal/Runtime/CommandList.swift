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
}

enum Command {
  case dispatch(DispatchCommand)
  /// The grid's threadgroups are read from memory.
  case indirectDispatch(DispatchCommand, UnsafeRawPointer)
  case copy(from: UnsafeRawPointer, to: UnsafeMutableRawPointer, bytes: Int)
  case fill(UnsafeMutableRawPointer, bytes: Int, value: UInt8)
  case wait(Unmanaged<EventValue>, UInt64)
  case signal(Unmanaged<EventValue>, UInt64)
}

/// What was encoded: plain values in a few arrays, and what keeps the memory they point to alive.
struct CommandList: ~Copyable {
  struct Binding {
    var slot: Int
    var value: sm_binding
  }
  private struct Unretained { weak var buffer: SoftBuffer? }

  private(set) var commands: [Command] = []
  private(set) var bindings: [Binding] = []
  private(set) var threadgroupBytes: [(slot: Int, bytes: UInt64)] = []
  private var kept: [AnyObject] = []
  private var unretained: [Unretained] = []
  private var inline = InlineBytes()

  mutating func append(_ command: Command) { commands.append(command) }
  mutating func append(_ binding: Binding) { bindings.append(binding) }
  mutating func appendThreadgroupBytes(_ bytes: UInt64, slot: Int) { threadgroupBytes.append((slot, bytes)) }

  mutating func keep(_ object: AnyObject) { kept.append(object) }
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
