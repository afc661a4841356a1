extension Grid {
  /// Makes it a grid of whole threadgroups; false if a dimension has more threads than 32 bits can count.
  mutating func setThreadgroups(_ counts: (UInt32, UInt32, UInt32)) -> Bool {
    let (width, tooWide) = counts.0.multipliedReportingOverflow(by: threads.0)
    let (height, tooHigh) = counts.1.multipliedReportingOverflow(by: threads.1)
    let (depth, tooDeep) = counts.2.multipliedReportingOverflow(by: threads.2)
    threadgroups = counts
    gridThreads = (width, height, depth)
    return !tooWide && !tooHigh && !tooDeep
  }

  var isEmpty: Bool { threadgroups.0 == 0 || threadgroups.1 == 0 || threadgroups.2 == 0 }
}

extension SoftComputeEncoder {
  /// A grid of whole threadgroups; nil, and reported, if it breaks a limit.
  func grid(_ pipeline: SoftPipeline, threadgroups: MTLSize, threads: MTLSize) -> Grid? {
    guard checkThreads(pipeline, threads), checkGrid(pipeline, threadgroups, "threadgroupsPerGrid", unit: threads),
      let count = threadgroups.counts, let size = threads.counts
    else { return nil }
    var grid = Grid(threadgroups: count, gridThreads: count, threads: size)
    return grid.setThreadgroups(count) ? grid : nil
  }

  /// A grid of threads, with smaller threadgroups at its edges.
  func grid(_ pipeline: SoftPipeline, gridThreads: MTLSize, threads: MTLSize) -> Grid? {
    guard checkThreads(pipeline, threads),
      checkGrid(pipeline, gridThreads, "threadsPerGrid", unit: MTLSizeMake(1, 1, 1)),
      let count = gridThreads.counts, let size = threads.counts
    else { return nil }
    func groups(_ count: UInt32, _ size: UInt32) -> UInt32 { (count - 1) / size + 1 }
    return Grid(
      threadgroups: (groups(count.0, size.0), groups(count.1, size.1), groups(count.2, size.2)), gridThreads: count,
      threads: size)
  }

  private func checkThreads(_ pipeline: SoftPipeline, _ threads: MTLSize) -> Bool {
    func refuse(_ what: String) -> Bool {
      reportSize(pipeline, "threadsPerThreadgroup", threads, what)
      return false
    }
    guard threads.width > 0, threads.height > 0, threads.depth > 0 else { return refuse(" must not be 0.") }
    guard threads.width <= Limits.threads, threads.height <= Limits.threads, threads.depth <= Limits.threads,
      case let total = threads.width * threads.height * threads.depth, total <= Limits.threads
    else { return refuse(" must be <= \(Limits.threads). (device threadgroup size limit)") }
    guard total <= pipeline.maxTotalThreadsPerThreadgroup else {
      return refuse("(\(total)) must be <= \(pipeline.maxTotalThreadsPerThreadgroup). (kernel threadgroup size limit)")
    }
    guard !pipeline.wholeSIMDGroups || total % pipeline.threadExecutionWidth == 0 else {
      return refuse("(\(total)) must be a multiple of \(pipeline.threadExecutionWidth), as the pipeline was promised.")
    }
    return true
  }

  /// Thread positions are 32-bit numbers, so a dimension may have so many threads, `unit` of them to each step.
  private func checkGrid(_ pipeline: SoftPipeline, _ size: MTLSize, _ name: StaticString, unit: MTLSize) -> Bool {
    let most = Int(UInt32.max)
    guard size.width > 0, size.height > 0, size.depth > 0 else {
      reportSize(pipeline, name, size, " must not be 0.")
      return false
    }
    guard size.width <= most / unit.width, size.height <= most / unit.height, size.depth <= most / unit.depth else {
      reportSize(pipeline, name, size, " must be at most \(most) threads in each dimension.")
      return false
    }
    return true
  }

  private func reportSize(_ pipeline: SoftPipeline, _ name: StaticString, _ size: MTLSize, _ what: String) {
    report(
      .internal,
      "Compute Function(\(pipeline.name)): (\(name).width(\(size.width)) * .height(\(size.height)) * "
        + ".depth(\(size.depth)))\(what)")
  }
}

extension MTLSize {
  /// Nil unless every dimension fits in 32 bits.
  fileprivate var counts: (UInt32, UInt32, UInt32)? {
    guard let width = UInt32(exactly: width), let height = UInt32(exactly: height), let depth = UInt32(exactly: depth)
    else { return nil }
    return (width, height, depth)
  }
}
