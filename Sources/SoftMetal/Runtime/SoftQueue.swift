import CSoftMetal

/// A command queue. Its buffers are executed in order by one thread at a time: a background thread, or a thread that
/// waits for one of them, which saves both from waking each other.
final class SoftQueue: MTLCommandQueue, @unchecked Sendable {
  let softDevice: SoftMetalDevice
  private let limit: Int
  private let context = sm_context_create()
  /// Filled in anew for each dispatch, by whoever drains the queue.
  private let dispatch = UnsafeMutablePointer<sm_dispatch>.allocate(capacity: 1)
  let monitor = Monitor()

  // Guarded by `monitor`.
  private var pending: [SoftCommandBuffer] = []
  private var unfinished = 0
  /// The thread that executes; 0 if none does.
  private var drainer: UInt = 0
  /// The first pending buffer waits for an event.
  private var isParked = false
  /// Threads asleep on `monitor`; `helpers` of them execute what they find to execute.
  private var waiters = 0
  private var helpers = 0
  /// A background thread is on its way.
  private var isSummoned = false
  private var isWatched = false
  /// Committed buffers have lately been waited for before their execution began.
  private var expectsWait = false
  private var commits = 0
  private var seenCommits = 0
  private var idleLooks = 0
  private var sets: [ObjectIdentifier: any MTLResidencySet] = [:]
  private var guardedLabel: String?

  init(device: SoftMetalDevice, limit: Int) {
    softDevice = device
    self.limit = limit
    dispatch.initialize(to: sm_dispatch())
    dispatch.pointee.executor = sm_context_executor(context)
  }

  deinit {
    dispatch.deallocate()
    sm_context_destroy(context)
  }

  var device: any MTLDevice { softDevice }
  var label: String? {
    get { monitor.withLock { guardedLabel } }
    set { monitor.withLock { guardedLabel = newValue } }
  }

  // MARK: Command buffers

  func makeCommandBuffer() -> (any MTLCommandBuffer)? { makeBuffer(retained: true, options: []) }

  func makeCommandBufferWithUnretainedReferences() -> (any MTLCommandBuffer)? {
    makeBuffer(retained: false, options: [])
  }

  func makeCommandBuffer(descriptor: MTLCommandBufferDescriptor) -> (any MTLCommandBuffer)? {
    makeBuffer(retained: descriptor.retainedReferences, options: descriptor.errorOptions)
  }

  private func makeBuffer(retained: Bool, options: MTLCommandBufferErrorOption) -> SoftCommandBuffer {
    monitor.lock()
    wait { unfinished < limit }
    unfinished += 1
    unlockAndSchedule()
    return SoftCommandBuffer(queue: self, retainedReferences: retained, errorOptions: options)
  }

  /// For a command buffer that dies without having been executed.
  func forget() {
    monitor.withLock {
      unfinished -= 1
      if waiters > 0 { monitor.broadcast() }
    }
  }

  // MARK: Residency

  /// The queue takes 32 sets; more are ignored.
  func addResidencySet(_ residencySet: any MTLResidencySet) {
    monitor.withLock { if sets.count < Limits.residencySets { sets[ObjectIdentifier(residencySet)] = residencySet } }
  }
  func addResidencySets(_ residencySets: [any MTLResidencySet]) { residencySets.forEach(addResidencySet) }
  func removeResidencySet(_ residencySet: any MTLResidencySet) {
    monitor.withLock { sets[ObjectIdentifier(residencySet)] = nil }
  }
  func removeResidencySets(_ residencySets: [any MTLResidencySet]) { residencySets.forEach(removeResidencySet) }

  // MARK: Order. The caller of everything below holds `monitor`, unless the comment says otherwise.

  func enqueue(_ buffer: SoftCommandBuffer) { pending.append(buffer) }

  /// Releases the monitor.
  func committedAndUnlock() {
    commits &+= 1
    if waiters > 0 { monitor.broadcast() }
    unlockAndSchedule()
  }

  private var isRunnable: Bool { !isParked && pending.first?.isCommitted == true }

  /// Sees to it that runnable work which nobody executes will be executed, and releases the monitor.
  private func unlockAndSchedule() {
    guard isRunnable, drainer == 0, !isSummoned else { return monitor.unlock() }
    if helpers > 0 {
      monitor.broadcast()
      return monitor.unlock()
    }
    if !expectsWait { return summonAndUnlock() }
    guard !isWatched else { return monitor.unlock() }
    isWatched = true
    idleLooks = 0
    monitor.unlock()
    if !Watchdog.shared.watch(self) {
      monitor.lock()
      isWatched = false
      summonAndUnlock()
    }
  }

  /// Sends for a background thread, or does its work if there is none.
  private func summonAndUnlock() {
    isSummoned = true
    monitor.unlock()
    if !runAsync({ self.serve() }) { serve() }
  }

  /// Called without the monitor, on the background thread.
  private func serve() {
    monitor.lock()
    isSummoned = false
    if isRunnable, drainer == 0 { drain { false } }
    unlockAndSchedule()
  }

  /// The watchdog's look; called without the monitor. False if the queue needs no more watching.
  func look(force: Bool) -> Bool {
    monitor.lock()
    guard isRunnable, drainer == 0 else {
      idleLooks = commits == seenCommits ? idleLooks + 1 : 0
      seenCommits = commits
      isWatched = idleLooks < Watchdog.patience
      let goesOn = isWatched
      monitor.unlock()
      return goesOn
    }
    idleLooks = 0
    if commits == seenCommits || force {
      expectsWait = false
      if !isSummoned {
        summonAndUnlock()
        return true
      }
    }
    seenCommits = commits
    monitor.unlock()
    return true
  }

  // MARK: Waiting and executing

  /// Waits, and meanwhile executes what this queue has to execute, until `isDone`. Called without the monitor.
  func help(until isDone: () -> Bool) {
    monitor.lock()
    if !isDone(), isRunnable, drainer == 0 { expectsWait = true }
    wait(until: isDone)
    unlockAndSchedule()
  }

  private func wait(until isDone: () -> Bool) {
    let me = sm_thread_id()
    while !isDone() {
      // A handler that waits is called by the very thread that drains: then nobody else can help it.
      if isRunnable, drainer == 0 || drainer == me {
        drain(until: isDone)
        continue
      }
      if isParked {
        // What will raise the event may be lying in a queue that is only watched.
        monitor.unlock()
        Watchdog.shared.hurry()
        monitor.lock()
        if isDone() || !isParked { continue }
      }
      helpers += 1
      sleep()
      helpers -= 1
    }
  }

  private func sleep() {
    waiters += 1
    monitor.wait()
    waiters -= 1
  }

  /// Waits for a scheduled buffer without executing it. Called without the monitor.
  func watch(until isDone: () -> Bool) {
    monitor.lock()
    if !isDone(), isRunnable, drainer == 0, !isSummoned {
      summonAndUnlock()
      monitor.lock()
    }
    while !isDone() { sleep() }
    monitor.unlock()
  }

  private func drain(until isDone: () -> Bool) {
    let outer = drainer
    drainer = sm_thread_id()
    while isRunnable, !isDone(), let buffer = pending.first {
      if buffer.isFirstRun {
        let handlers = buffer.schedule()
        if waiters > 0 { monitor.broadcast() }
        monitor.unlock()
        call(consume handlers, buffer)
      } else {
        monitor.unlock()
      }
      let outcome = buffer.execute(dispatch)
      monitor.lock()
      switch outcome {
      case .finished: finish(buffer)
      case .waits(let event, let value): park(event, value)
      }
    }
    drainer = outer
    // Others may have been waiting for the drain rather than for a buffer.
    if waiters > 0 { monitor.broadcast() }
  }

  private func finish(_ buffer: SoftCommandBuffer) {
    pending.removeFirst()
    let handlers = buffer.complete(on: drainer)
    if !handlers.isEmpty {
      monitor.unlock()
      call(consume handlers, buffer)
      monitor.lock()
    }
    let continuations = buffer.finish()
    unfinished -= 1
    if waiters > 0 { monitor.broadcast() }
    for continuation in continuations { continuation.resume() }
  }

  /// Called without the monitor, as is everything that runs when the handlers are released.
  @inline(never)
  private func call(_ handlers: consuming [MTLCommandBufferHandler], _ buffer: SoftCommandBuffer) {
    for handler in handlers { handler(buffer) }
  }

  private func park(_ event: EventValue, _ value: UInt64) {
    isParked = true
    monitor.unlock()
    event.whenReached(value) { [self] in
      monitor.lock()
      isParked = false
      if waiters > 0 { monitor.broadcast() }
      unlockAndSchedule()
    }
    monitor.lock()
  }
}
