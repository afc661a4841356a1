import Synchronization

/// What the process has submitted since start or the last reset.
public struct Counters: Sendable, Equatable {
  public var dispatches: UInt64 = 0
  public var commandBuffers: UInt64 = 0
  public var waits: UInt64 = 0
  /// All barriers, automatic ones included.
  public var barriers: UInt64 = 0
  /// Barriers put in by tracked dispatches.
  public var automaticBarriers: UInt64 = 0

  public static var current: Counters {
    Counters(
      dispatches: Tally.dispatches.load(ordering: .relaxed),
      commandBuffers: Tally.commandBuffers.load(ordering: .relaxed),
      waits: Tally.waits.load(ordering: .relaxed),
      barriers: Tally.barriers.load(ordering: .relaxed),
      automaticBarriers: Tally.automaticBarriers.load(ordering: .relaxed))
  }

  public static func reset() {
    Tally.dispatches.store(0, ordering: .relaxed)
    Tally.commandBuffers.store(0, ordering: .relaxed)
    Tally.waits.store(0, ordering: .relaxed)
    Tally.barriers.store(0, ordering: .relaxed)
    Tally.automaticBarriers.store(0, ordering: .relaxed)
  }
}

enum Tally {
  static let dispatches = Atomic<UInt64>(0)
  static let commandBuffers = Atomic<UInt64>(0)
  static let waits = Atomic<UInt64>(0)
  static let barriers = Atomic<UInt64>(0)
  static let automaticBarriers = Atomic<UInt64>(0)

  static func bump(_ counter: borrowing Atomic<UInt64>) { counter.wrappingAdd(1, ordering: .relaxed) }
}

/// Device time of command buffers, kept while `Tuning.profile` is on.
public enum Profile {
  public struct Record: Sendable {
    public let label: String
    /// Seconds on the device.
    public let seconds: Double
  }

  private static let records = Locked<[Record]>([])

  static func add(_ record: Record) { records.withLock { $0.append(record) } }

  /// The records so far, in order of completion; forgets them.
  public static func drain() -> [Record] {
    records.withLock { kept in
      defer { kept.removeAll() }
      return kept
    }
  }
}
