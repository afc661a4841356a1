/// Keys and values of past tokens, for several sequences, and attention over them.
///
/// Every call returns when its work is done, and calls exclude each other.
public final class KVCache: Sendable {
  public struct Configuration: Sendable {
    public var batch = 1
    public var kvHeads: Int
    /// 64, 128, 256 or 512.
    public var headDim: Int
    /// Tokens each sequence has room for.
    public var capacity: Int
    /// How far the capacity may grow, doubling; not at all if nil.
    public var maximumCapacity: Int?
    public var keys: KVFormat
    public var values: KVFormat
    /// When there is no room, the oldest tokens give way.
    public var ring = false
    /// Keys a query attends at most, its own included; all if nil.
    public var window: Int?
    /// Norms are half, not float; version 2 of the codec only.
    public var halfNorms = false
    /// Of the codec's rotation; 0 for the default signs.
    public var seed: UInt64 = 0

    public init(kvHeads: Int, headDim: Int, capacity: Int, keys: KVFormat, values: KVFormat? = nil) {
      self.kvHeads = kvHeads
      self.headDim = headDim
      self.capacity = capacity
      self.keys = keys
      self.values = values ?? keys
    }
  }

  /// What is kept of the keys, or of the values: data [B, Hkv, capacity, width] and, unless dense, norms
  /// [B, Hkv, capacity], for some [B, Hkv, capacity, 2].
  struct Half: Sendable {
    let format: KVFormat
    let data: Buffer
    let norms: Buffer?
  }

  struct State: Sendable {
    var capacity: Int
    var keys: Half
    var values: Half
    /// Position of each sequence's oldest token that is there, and the one after its newest.
    var begins: [Int]
    var ends: [Int]

    func length(_ sequence: Int) -> Int { ends[sequence] - begins[sequence] }
  }

  public let device: Device
  public let configuration: Configuration
  let state: Locked<State>

  public init(_ configuration: Configuration, on device: Device) throws(FAError) {
    try configuration.check()
    self.device = device
    self.configuration = configuration
    let none = Array(repeating: 0, count: configuration.batch)
    let (keys, values) = try Self.halves(configuration, configuration.capacity, device)
    state = Locked(State(capacity: configuration.capacity, keys: keys, values: values, begins: none, ends: none))
  }

  private init(_ configuration: Configuration, _ device: Device, _ state: State) {
    self.configuration = configuration
    self.device = device
    self.state = Locked(state)
  }

  /// Tokens each sequence has room for now.
  public var capacity: Int { state.withLock { $0.capacity } }

  /// Positions of each sequence's tokens that are there.
  public var ranges: [Range<Int>] { state.withLock { state in zip(state.begins, state.ends).map { $0..<$1 } } }

  /// Bytes of all data and norms, used or not.
  public var byteCount: Int {
    state.withLock { state in
      [state.keys, state.values].reduce(0) { $0 + $1.data.byteCount + ($1.norms?.byteCount ?? 0) }
    }
  }

  /// Bytes that a token of one sequence takes.
  public var bytesPerToken: Int {
    let (headDim, half) = (configuration.headDim, configuration.halfNorms)
    return configuration.kvHeads
      * (configuration.keys.bytes(headDim, halfNorms: half) + configuration.values.bytes(headDim, halfNorms: half))
  }

  /// Keys' data and norms, values' data and norms; nil where there are none. Growing replaces them.
  public var buffers: [Buffer?] {
    state.withLock { [$0.keys.data, $0.keys.norms, $0.values.data, $0.values.norms] }
  }

  /// A cache of its own with the same content.
  public func copy() throws(FAError) -> KVCache {
    try state.withLock { state throws(FAError) in
      var twin = state
      (twin.keys, twin.values) = try Self.halves(configuration, state.capacity, device)
      try Self.move(state, to: twin, configuration)
      return KVCache(configuration, device, twin)
    }
  }

  /// Forgets the newest tokens of a sequence, or of all.
  ///
  /// - Parameter end: the position after the last token that stays.
  public func truncate(_ sequence: Int? = nil, to end: Int) throws(FAError) {
    let operation = "kv_cache_truncate"
    let chosen = try sequences(sequence, operation)
    try state.withLock { state throws(FAError) in
      for index in chosen where !(state.begins[index]...state.ends[index]).contains(end) {
        throw .invalid(
          operation, "length",
          expected: "\(state.begins[index]) to \(state.ends[index]), the positions that sequence \(index) has",
          got: "\(end)")
      }
      for index in chosen { state.ends[index] = end }
    }
  }

  /// Says which positions the buffers hold, after they have been filled.
  public func setRanges(_ begins: [Int], _ ends: [Int]) throws(FAError) {
    let operation = "kv_cache_set_ranges"
    guard begins.count == configuration.batch, ends.count == configuration.batch else {
      throw .invalid(
        operation, "ranges", expected: "one for each of \(configuration.batch) sequences",
        got: "\(begins.count) begins and \(ends.count) ends")
    }
    try state.withLock { state throws(FAError) in
      for (begin, end) in zip(begins, ends) {
        let limit = configuration.ring ? Int(Int32.max) : state.capacity
        guard begin >= 0, begin <= end, end <= limit, end - begin <= state.capacity, configuration.ring || begin == 0
        else {
          throw .invalid(
            operation, "ranges",
            expected: configuration.ring
              ? "at most \(state.capacity) positions from 0 on" : "positions 0 to \(state.capacity) at most",
            got: "\(begin) to \(end)")
        }
      }
      (state.begins, state.ends) = (begins, ends)
    }
  }

  func sequences(_ sequence: Int?, _ operation: String) throws(FAError) -> Range<Int> {
    guard let sequence else { return 0..<configuration.batch }
    guard (0..<configuration.batch).contains(sequence) else {
      throw .invalid(operation, "sequence", expected: "0 to \(configuration.batch - 1)", got: "\(sequence)")
    }
    return sequence..<sequence + 1
  }

  private static func halves(
    _ configuration: Configuration, _ capacity: Int, _ device: Device
  ) throws(FAError) -> (Half, Half) {
    func half(_ format: KVFormat) throws(FAError) -> Half {
      let shape = [configuration.batch, configuration.kvHeads, capacity]
      let norms = format.norms(configuration.headDim)
      return Half(
        format: format,
        data: try device.makeBuffer(format.dtype, shape + [format.width(configuration.headDim)]),
        norms: norms == 0
          ? nil : try device.makeBuffer(configuration.halfNorms ? .f16 : .f32, norms == 1 ? shape : shape + [norms]))
    }
    return (try half(configuration.keys), try half(configuration.values))
  }

  /// Makes room for `end` tokens, where the capacity may grow.
  func grow(_ state: inout State, to end: Int) throws(FAError) {
    guard end > state.capacity, let most = configuration.maximumCapacity, end <= most else { return }
    var larger = state
    let doubled = state.capacity > most / 2 ? most : 2 * state.capacity
    larger.capacity = min(most, max(doubled, end))
    (larger.keys, larger.values) = try Self.halves(configuration, larger.capacity, device)
    try Self.move(state, to: larger, configuration)
    state = larger
  }

  /// Copies every slot to the slots of the same numbers.
  private static func move(_ from: State, to: State, _ configuration: Configuration) throws(FAError) {
    let pairs = [
      (from.keys.data, to.keys.data), (from.values.data, to.values.data), (from.keys.norms, to.keys.norms),
      (from.values.norms, to.values.norms),
    ]
    let heads = configuration.batch * configuration.kvHeads
    for case let (source?, target?) in pairs as [(Buffer?, Buffer?)] {
      let (given, taken) = (try source.hostPointer(), try target.hostPointer())
      for head in 0..<heads {
        (taken + head * (target.byteCount / heads)).copyMemory(
          from: given + head * (source.byteCount / heads), byteCount: source.byteCount / heads)
      }
    }
  }
}

extension KVCache.Configuration {
  static let operation = "kv_cache_create"

  func check() throws(FAError) {
    let operation = Self.operation
    func expect(_ argument: String, _ range: ClosedRange<Int>, _ value: Int) throws(FAError) {
      guard range.contains(value) else {
        throw .invalid(
          operation, argument, expected: "\(range.lowerBound) to \(range.upperBound)", got: "\(value)")
      }
    }
    let most = Int(Int32.max)
    try expect("batch", 1...1024, batch)
    try expect("kv_heads", 1...most, kvHeads)
    guard KVFormat.headDims.contains(headDim) else {
      throw .unsupported(operation, "head_dim", expected: "64, 128, 256 or 512", got: "\(headDim)")
    }
    try expect("capacity", 1...most, capacity)
    if let maximumCapacity {
      try expect("max_capacity", capacity...most, maximumCapacity)
      guard !ring else {
        throw .invalid(operation, "max_capacity", expected: "none with a ring", got: "\(maximumCapacity)")
      }
    }
    if let window { try expect("window", 1...most, window) }
    let formats = [keys, values]
    if formats.contains(where: { $0.version == 1 }), seed != 0 || halfNorms {
      throw .unsupported(
        operation, seed != 0 ? "seed" : "norms",
        expected: "\(seed != 0 ? "0" : "f32") with version 1 of the codec, \(keys) and \(values)",
        got: seed != 0 ? "\(seed)" : "f16")
    }
    if formats.allSatisfy(\.isDense), seed != 0 || halfNorms {
      throw .invalid(
        operation, seed != 0 ? "seed" : "norms", expected: "none for a cache that is not quantised",
        got: seed != 0 ? "\(seed)" : "f16")
    }
    guard Extent.product([batch, kvHeads, maximumCapacity ?? capacity, headDim, 4]) != nil else {
      throw .invalid(operation, "capacity", expected: "a cache of less than 2^63 bytes", got: "\(capacity)")
    }
  }
}
