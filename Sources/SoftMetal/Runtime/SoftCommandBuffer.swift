import CSoftMetal
import Synchronization

final class SoftCommandBuffer: MTLCommandBuffer, @unchecked Sendable {
  let queue: SoftQueue
  let retainedReferences: Bool
  let errorOptions: MTLCommandBufferErrorOption
  var label: String?
  var list = CommandList()
  /// While an encoder is open nothing else may encode.
  var hasOpenEncoder = false
  private var groups: [String] = []
  private var residencySets = 0
  /// The next command to execute.
  private var cursor = 0

  private let atomicStatus = Atomic<UInt>(MTLCommandBufferStatus.notEnqueued.rawValue)
  /// Neither committed nor failed.
  private let accepts = Atomic<Bool>(true)

  // Guarded by the queue's monitor.
  private var failure: MTLCommandBufferError?
  private var scheduledHandlers: [MTLCommandBufferHandler] = []
  private var completedHandlers: [MTLCommandBufferHandler] = []
  private var continuations: [CheckedContinuation<Void, Never>] = []
  private var isFinished = false
  /// The thread that calls the completed handlers.
  private var handlerThread: UInt = 0
  private var times = (kernelStart: 0.0, kernelEnd: 0.0, gpuStart: 0.0, gpuEnd: 0.0)

  init(queue: SoftQueue, retainedReferences: Bool, errorOptions: MTLCommandBufferErrorOption) {
    self.queue = queue
    self.retainedReferences = retainedReferences
    self.errorOptions = errorOptions
  }

  deinit { if !isFinished { queue.forget() } }

  var softDevice: SoftMetalDevice { queue.softDevice }
  var device: any MTLDevice { queue.softDevice }
  var commandQueue: any MTLCommandQueue { queue }

  var kernelStartTime: CFTimeInterval { queue.monitor.withLock { times.kernelStart } }
  var kernelEndTime: CFTimeInterval { queue.monitor.withLock { times.kernelEnd } }
  var gpuStartTime: CFTimeInterval { queue.monitor.withLock { times.gpuStart } }
  var gpuEndTime: CFTimeInterval { queue.monitor.withLock { times.gpuEnd } }

  private(set) var status: MTLCommandBufferStatus {
    get { MTLCommandBufferStatus(rawValue: atomicStatus.load(ordering: .acquiring)) ?? .error }
    set { atomicStatus.store(newValue.rawValue, ordering: .releasing) }
  }
  var isCommitted: Bool { status.rawValue >= MTLCommandBufferStatus.committed.rawValue }
  var error: (any Error)? { queue.monitor.withLock { status == .error ? failure : nil } }

  // MARK: Errors

  /// Makes `text` the buffer's error, unless it has one: nothing is encoded or executed any more.
  func report(_ code: MTLCommandBufferError.Code, _ text: String) {
    queue.monitor.withLock { fail(code, text) }
  }

  private func fail(_ code: MTLCommandBufferError.Code, _ text: String, isFinding: Bool = false) {
    guard failure == nil else { return }
    failure = MTLCommandBufferError(code, text, isFinding: isFinding)
    accepts.store(false, ordering: .relaxed)
    if status == .completed { status = .error }
  }

  /// Whether something may be encoded; if not, and if that is a mistake, the mistake is reported.
  @inline(__always)
  func admits(_ operation: StaticString) -> Bool {
    accepts.load(ordering: .relaxed) || refuse(operation)
  }

  private func refuse(_ operation: StaticString) -> Bool {
    if isCommitted { report(.internal, "\(operation): the command buffer is already committed") }
    return false
  }

  private func admitsBetweenEncoders(_ operation: StaticString) -> Bool {
    guard admits(operation) else { return false }
    if hasOpenEncoder {
      report(.internal, "\(operation): A command encoder is already encoding to this command buffer")
    }
    return !hasOpenEncoder
  }

  // MARK: Encoding

  func makeComputeCommandEncoder() -> (any MTLComputeCommandEncoder)? {
    makeComputeCommandEncoder(dispatchType: .serial)
  }

  func makeComputeCommandEncoder(descriptor: MTLComputePassDescriptor) -> (any MTLComputeCommandEncoder)? {
    makeComputeCommandEncoder(dispatchType: descriptor.dispatchType)
  }

  func makeComputeCommandEncoder(dispatchType: MTLDispatchType) -> (any MTLComputeCommandEncoder)? {
    SoftComputeEncoder(self, opens: openEncoder("makeComputeCommandEncoder"), dispatchType: dispatchType)
  }

  func makeBlitCommandEncoder() -> (any MTLBlitCommandEncoder)? {
    SoftBlitEncoder(self, opens: openEncoder("makeBlitCommandEncoder"))
  }

  /// An encoder that may not be opened exists nevertheless, so that a client need not handle what the error will say.
  private func openEncoder(_ operation: StaticString) -> Bool {
    guard admitsBetweenEncoders(operation) else { return false }
    hasOpenEncoder = true
    return true
  }

  func encodeWaitForEvent(_ event: any MTLEvent, value: UInt64) {
    guard let event = resolve(event, "encodeWaitForEvent") else { return }
    list.append(.wait(event, value))
  }

  func encodeSignalEvent(_ event: any MTLEvent, value: UInt64) {
    guard let event = resolve(event, "encodeSignalEvent") else { return }
    list.append(.signal(event, value))
  }

  private func resolve(_ event: any MTLEvent, _ operation: StaticString) -> Unmanaged<EventValue>? {
    guard admitsBetweenEncoders(operation) else { return nil }
    let value: EventValue
    switch event {
    case let event as SoftSharedEvent: value = event.value
    case let event as SoftEvent where event.softDevice === softDevice: value = event.value
    default:
      report(.invalidResource, "\(operation): the event belongs to another device")
      return nil
    }
    list.keep(value)
    return .passUnretained(value)
  }

  func pushDebugGroup(_ string: String) { if admits("pushDebugGroup") { groups.append(string) } }

  func popDebugGroup() {
    guard admits("popDebugGroup") else { return }
    if groups.popLast() == nil { report(.internal, "popDebugGroup: no debug group was pushed") }
  }

  func useResidencySet(_ residencySet: any MTLResidencySet) {
    guard admits("useResidencySet") else { return }
    residencySets += 1
    list.keep(residencySet)
    if (residencySet as? SoftResidencySet)?.softDevice !== softDevice {
      report(.invalidResource, "useResidencySet: the residency set belongs to another device")
    } else if residencySets > Limits.residencySets {
      report(
        .internal, "useResidencySet: expected at most \(Limits.residencySets) residency sets, got \(residencySets)")
    }
  }

  func useResidencySets(_ residencySets: [any MTLResidencySet]) { residencySets.forEach(useResidencySet) }

  // MARK: Committing and waiting

  func enqueue() {
    queue.monitor.withLock {
      guard status == .notEnqueued else {
        if isCommitted { fail(.internal, "enqueue: the command buffer is already committed") }
        return
      }
      status = .enqueued
      queue.enqueue(self)
    }
  }

  func commit() {
    queue.monitor.lock()
    guard !isCommitted else {
      fail(.internal, "commit an already committed command buffer")
      return queue.monitor.unlock()
    }
    if hasOpenEncoder { fail(.internal, "commit command buffer with uncommitted encoder") }
    if status == .notEnqueued { queue.enqueue(self) }
    accepts.store(false, ordering: .relaxed)
    status = .committed
    queue.committedAndUnlock()
  }

  func waitUntilScheduled() {
    guard admitsWait("waitUntilScheduled") else { return }
    queue.watch { status.rawValue >= MTLCommandBufferStatus.scheduled.rawValue }
  }

  func waitUntilCompleted() {
    guard admitsWait("waitUntilCompleted") else { return }
    let me = sm_thread_id()
    // A completed handler that waits for its own buffer would wait for itself.
    queue.help { isFinished || handlerThread == me }
  }

  /// Waiting for what was never committed would last for ever.
  private func admitsWait(_ operation: StaticString) -> Bool {
    if !isCommitted { report(.internal, "\(operation): the command buffer is not committed") }
    return isCommitted
  }

  func addScheduledHandler(_ block: @escaping MTLCommandBufferHandler) {
    queue.monitor.withLock {
      if isCommitted { return fail(.internal, "Scheduled handler provided after commit call") }
      scheduledHandlers.append(block)
    }
  }

  func addCompletedHandler(_ block: @escaping MTLCommandBufferHandler) {
    queue.monitor.withLock {
      if isCommitted { return fail(.internal, "Completed handler provided after commit call") }
      completedHandlers.append(block)
    }
  }

  func scheduled() async {
    await withCheckedContinuation { continuation in
      let isPast = queue.monitor.withLock {
        if status.rawValue >= MTLCommandBufferStatus.scheduled.rawValue { return true }
        scheduledHandlers.append { _ in continuation.resume() }
        return false
      }
      if isPast { continuation.resume() }
    }
  }

  func completed() async {
    await withCheckedContinuation { continuation in
      let isPast = queue.monitor.withLock {
        if !isFinished { continuations.append(continuation) }
        return isFinished
      }
      if isPast { continuation.resume() }
    }
  }
}

// MARK: Execution

extension SoftCommandBuffer {
  enum Outcome {
    case finished
    /// To be executed on once the event has the value.
    case waits(EventValue, UInt64)
  }

  // The queue calls the next four; it holds its monitor but for `execute`.

  var isFirstRun: Bool { status == .committed }

  /// Returns the handlers to call.
  func schedule() -> [MTLCommandBufferHandler] {
    let now = sm_now()
    times.kernelStart = now
    times.kernelEnd = now
    times.gpuStart = now
    status = .scheduled
    defer { scheduledHandlers = [] }
    return scheduledHandlers
  }

  /// Returns the handlers to call.
  func complete(on thread: UInt) -> [MTLCommandBufferHandler] {
    times.gpuEnd = sm_now()
    status = failure == nil ? .completed : .error
    handlerThread = thread
    defer { completedHandlers = [] }
    return completedHandlers
  }

  /// Everything is done, handlers included. Returns what waits for that.
  func finish() -> [CheckedContinuation<Void, Never>] {
    isFinished = true
    handlerThread = 0
    defer { continuations = [] }
    return continuations
  }

  /// Executes commands until the end, the first error or an event that has not happened. Whatever the commands kept
  /// alive is let go at the end.
  func execute(_ dispatch: UnsafeMutablePointer<sm_dispatch>) -> Outcome {
    let outcome = executeCommands(dispatch)
    if case .finished = outcome { list = CommandList() }
    return outcome
  }

  private func executeCommands(_ dispatch: UnsafeMutablePointer<sm_dispatch>) -> Outcome {
    guard let living = list.livingBuffers() else {
      report(.invalidResource, "a buffer bound without retained references was released before its use")
      return .finished
    }
    defer { withExtendedLifetime(living) {} }
    while cursor < list.commands.count {
      switch list.commands[cursor] {
      case .dispatch(let command): guard run(command, dispatch) else { return .finished }
      case .indirectDispatch(var command, let memory):
        guard command.grid.setThreadgroups(memory.loadUnaligned(as: (UInt32, UInt32, UInt32).self)) else {
          report(.internal, "dispatchThreadgroups(indirectBuffer:): the grid has more threads than 32 bits can count")
          return .finished
        }
        guard command.grid.isEmpty || run(command, dispatch) else { return .finished }
      case .copy(let from, let to, let bytes): to.copyMemory(from: from, byteCount: bytes)
      case .fill(let memory, let bytes, let value):
        memory.initializeMemory(as: UInt8.self, repeating: value, count: bytes)
      case .barrier(let overlap, let memory, let bytes):
        let history = overlap.takeUnretainedValue().history
        if let memory {
          sm_check_history_barrier_range(history, memory, UInt64(bytes))
        } else {
          sm_check_history_barrier(history)
        }
      case .signal(let event, let value): event.takeUnretainedValue().raise(to: value)
      case .wait(let event, let value):
        let event = event.takeUnretainedValue()
        guard event.hasReached(value) else { return .waits(event, value) }
      }
      cursor += 1
    }
    return .finished
  }

  /// False if the kernel failed.
  private func run(_ command: DispatchCommand, _ dispatch: UnsafeMutablePointer<sm_dispatch>) -> Bool {
    let pipeline = command.pipeline.takeUnretainedValue()
    guard let buffers = sm_dispatch_buffers(dispatch), let threadgroupBytes = sm_dispatch_threadgroup_bytes(dispatch)
    else { return false }
    for index in command.bindings { buffers[list.bindings[index].slot] = list.bindings[index].value }
    for index in command.threadgroupBytes {
      threadgroupBytes[list.threadgroupBytes[index].slot] = list.threadgroupBytes[index].bytes
    }
    // The next dispatch must find nothing but its own bindings.
    defer {
      for index in command.bindings { buffers[list.bindings[index].slot] = sm_binding() }
      for index in command.threadgroupBytes { threadgroupBytes[list.threadgroupBytes[index].slot] = 0 }
    }
    dispatch.pointee.threadgroups = command.grid.threadgroups
    dispatch.pointee.grid_threads = command.grid.gridThreads
    dispatch.pointee.threads = command.grid.threads
    guard let failure = pipeline.kernel.run(dispatch, checks(of: command, pipeline)) else { return true }
    queue.monitor.withLock {
      fail(failure.code, "Compute Function(\(pipeline.name)): \(failure.text)", isFinding: failure.isFinding)
    }
    return false
  }

  private func checks(of command: DispatchCommand, _ pipeline: SoftPipeline) -> DispatchChecks {
    var checks = DispatchChecks(history: command.overlap?.takeUnretainedValue().history)
    for index in command.bindings {
      let binding = list.bindings[index]
      guard let written = binding.written else { continue }
      if pipeline.kernel.isChecked {
        if checks.written.isEmpty { checks.written = Array(repeating: nil, count: Limits.bufferSlots) }
        checks.written[binding.slot] = written
      } else if pipeline.arguments.contains(where: { $0.slot == binding.slot && $0.isWritten }) {
        // Nobody watches what it writes: it may be everything.
        written.update(repeating: 1, count: Int(binding.value.bytes))
      }
    }
    return checks
  }
}
