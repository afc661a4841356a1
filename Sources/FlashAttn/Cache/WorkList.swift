/// Plans with their buffers, in stages: what is in a stage may run at once, and sees what earlier stages wrote.
struct WorkList {
  struct Job {
    let plan: Plan
    let buffers: NamedBuffers
  }

  let device: Device
  /// The caller's, who commits it; nil: the work is run.
  let encoder: CommandEncoder?
  private(set) var stages: [[Job]] = []
  private var borrowed: [Buffer] = []

  init(device: Device, encoder: CommandEncoder? = nil) {
    self.device = device
    self.encoder = encoder
  }

  var plans: [Plan] { stages.joined().map(\.plan) }
  var scratchBytes: Int { borrowed.reduce(0) { $0 + $1.byteCount } }

  mutating func add(_ stage: [Job]) {
    if !stage.isEmpty { stages.append(stage) }
  }

  mutating func add(_ plan: Plan, _ buffers: NamedBuffers) { stages.append([Job(plan: plan, buffers: buffers)]) }

  /// Memory for the work alone; its content is unknown.
  mutating func scratch(_ dtype: DType, _ shape: [Int]) throws(FAError) -> Buffer {
    guard encoder == nil else {
      let buffer = try device.makeBuffer(dtype, shape)
      encoder?.keep(buffer)
      return buffer
    }
    let buffer = try device.staging.makeBuffer(dtype, shape, zeroed: false)
    borrowed.append(buffer)
    return buffer
  }

  /// Runs everything in one command buffer and waits, or encodes it.
  func run() throws(FAError) {
    guard !stages.isEmpty else { return }
    let isShared = encoder != nil
    let encoder = if let encoder { encoder } else { try CommandEncoder(device: device) }
    for (index, stage) in stages.enumerated() {
      if index > 0 { try encoder.barrier() }
      for job in stage {
        // Stages order the work, and the jobs of one do not meet; what else the encoder has may meet them.
        try job.plan.encode(into: encoder, registry: device.registry, named: job.buffers, tracked: isShared)
      }
    }
    if !isShared { try encoder.commitAndWait() }
  }

  /// Gives the scratch memory back; nothing may use it any more.
  mutating func recycle() {
    for buffer in borrowed { try? device.staging.recycle(buffer) }
    borrowed.removeAll()
  }
}

extension Buffer {
  /// The elements from one on.
  func from(_ element: Int, _ operation: String) throws(FAError) -> Buffer {
    guard element > 0 else { return self }
    return try view(byteOffset: element * dtype.byteCount, shape: [count - element])
  }
}
