import CSoftMetal
import Synchronization

/// An executor that uses fewer workers than there are.
enum LimitedExecutor {
  private struct Limits: ~Copyable {
    let executor: UnsafePointer<sm_executor>
    let workers: UInt32
  }

  private struct Region: ~Copyable {
    let tasks: UInt64
    let task: @convention(c) (UnsafeMutableRawPointer?, UInt64, UInt32) -> Void
    let context: UnsafeMutableRawPointer?
    let next = Atomic<UInt64>(0)
  }

  static func with<Result>(
    _ executor: UnsafePointer<sm_executor>, workers: Int, _ body: (UnsafePointer<sm_executor>) -> Result
  ) -> Result {
    let limits = UnsafeMutablePointer<Limits>.allocate(capacity: 1)
    limits.initialize(to: Limits(executor: executor, workers: UInt32(workers)))
    defer {
      limits.deinitialize(count: 1)
      limits.deallocate()
    }
    let limited = sm_executor(
      self: limits, workers: UInt32(workers), parallel: parallel,
      scratch: { me, bytes in
        guard let inner = me?.assumingMemoryBound(to: Limits.self).pointee.executor else { return nil }
        return inner.pointee.scratch(inner.pointee.`self`, bytes)
      })
    return withUnsafePointer(to: limited, body)
  }

  /// As many tasks as there may be workers, each of which is one worker and takes task after task.
  private static let parallel:
    @convention(c) (
      UnsafeMutableRawPointer?, UInt64, (@convention(c) (UnsafeMutableRawPointer?, UInt64, UInt32) -> Void)?,
      UnsafeMutableRawPointer?
    ) -> Void = { me, tasks, task, context in
      guard let limits = me?.assumingMemoryBound(to: Limits.self), let task else { return }
      let region = UnsafeMutablePointer<Region>.allocate(capacity: 1)
      region.initialize(to: Region(tasks: tasks, task: task, context: context))
      let inner = limits.pointee.executor.pointee
      inner.parallel(
        inner.`self`, min(tasks, UInt64(limits.pointee.workers)),
        { region, worker, _ in
          guard let region = region?.assumingMemoryBound(to: Region.self) else { return }
          while true {
            let index = region.pointee.next.wrappingAdd(1, ordering: .relaxed).oldValue
            guard index < region.pointee.tasks else { return }
            region.pointee.task(region.pointee.context, index, UInt32(worker))
          }
        }, region)
      region.deinitialize(count: 1)
      region.deallocate()
    }
}
