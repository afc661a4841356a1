import CSoftMetal

/// One row of a client's table of native kernels, copied.
struct NativeKernel: Sendable {
  typealias Run = @Sendable @convention(c) (UnsafePointer<sm_dispatch>?) -> UnsafePointer<CChar>?

  let name: String
  let run: Run?
  let arguments: [KernelArgument]
  /// By rising index.
  let constants: [MTLFunctionConstant]
  let maxThreads: Int
  let staticThreadgroupBytes: Int
  /// Why the row cannot be used.
  let defect: String?

  /// Nil for a row without a name, which nobody could ask for.
  init?(_ row: sm_native_kernel) {
    guard let rowName = row.name else { return nil }
    name = String(cString: rowName)
    run = row.run.map { unsafeBitCast($0, to: Run.self) }
    maxThreads = Int(row.max_threads)
    staticThreadgroupBytes = Int(row.static_threadgroup_bytes)

    var defect = row.run == nil ? "it has no code" : nil
    arguments = UnsafeBufferPointer(start: row.arguments, count: row.arguments == nil ? 0 : Int(row.argument_count))
      .map { argument in
        if argument.slot >= SM_BUFFER_SLOTS { defect = "it has an argument at slot \(argument.slot)" }
        return KernelArgument(
          name: argument.name.map { String(cString: $0) } ?? "", slot: Int(argument.slot),
          isWritten: argument.access != SM_READ, minBytes: argument.min_bytes,
          guardConstant: argument.guard < 0 ? nil : Int(argument.guard))
      }
    constants = UnsafeBufferPointer(start: row.constants, count: row.constants == nil ? 0 : Int(row.constant_count))
      .map { constant in
        let type = MTLDataType(rawValue: UInt(constant.type)) ?? .none
        if type.byteCount == nil { defect = "its function constant \(constant.index) has type \(constant.type)" }
        return MTLFunctionConstant(
          name: constant.name.map { String(cString: $0) } ?? "", type: type, index: Int(constant.index),
          required: constant.required != 0)
      }
      .sorted { $0.index < $1.index }
    if maxThreads == 0 { defect = "it allows no threads" }
    self.defect = defect
  }
}

/// A device's native kernels, by the source they stand in for and by name.
final class NativeKernelRegistry: Sendable {
  private let sources = Guarded<[(source: String, kernels: [String: NativeKernel])]>([])

  func add(_ kernels: [NativeKernel], source: String) {
    sources.withLock { sources in
      let place = sources.firstIndex { $0.source == source } ?? sources.count
      if place == sources.count { sources.append((source, [:])) }
      for kernel in kernels { sources[place].kernels[kernel.name] = kernel }
    }
  }

  /// Equal texts are compared byte by byte only if they are not one and the same string.
  func kernels(for source: String) -> [String: NativeKernel] {
    sources.withLock { $0.first { $0.source == source }?.kernels ?? [:] }
  }
}

/// Runs functions for which the client brought native code.
struct NativeProvider: PipelineProvider {
  let name = "native"

  func makeKernel(for function: SoftFunction, constants: [ConstantValue]) -> ProviderAnswer {
    guard let kernel = function.library.natives[function.name] else {
      return .declined("no native kernel of that name is registered for this source")
    }
    guard kernel.defect == nil, let run = kernel.run else {
      return .failed(
        MTLLibraryError(
          .unsupported,
          "makeComputePipelineState: kernel '\(function.name)': the native kernel cannot be used: "
            + (kernel.defect ?? "it has no code")))
    }
    return .kernel(NativeExecutable(kernel, run, constants))
  }
}

/// A native kernel with its function constants.
private final class NativeExecutable: ExecutableKernel, @unchecked Sendable {
  let arguments: [KernelArgument]
  let threadgroupSlots: [Int] = []
  let maxThreads: Int
  let staticThreadgroupBytes: Int
  private let code: NativeKernel.Run
  private let constants: UnsafeMutableBufferPointer<sm_constant>

  init(_ kernel: NativeKernel, _ run: NativeKernel.Run, _ values: [ConstantValue]) {
    arguments = kernel.arguments.filter { $0.exists(under: values) }
    maxThreads = kernel.maxThreads
    staticThreadgroupBytes = kernel.staticThreadgroupBytes
    code = run
    constants = .allocate(capacity: values.count)
    _ = constants.initialize(from: values.map(\.native))
  }

  deinit { constants.deallocate() }

  var isChecked: Bool { false }

  func run(_ dispatch: UnsafeMutablePointer<sm_dispatch>, _ checks: DispatchChecks) -> KernelFailure? {
    dispatch.pointee.constants = UnsafePointer(constants.baseAddress)
    dispatch.pointee.constant_count = UInt32(constants.count)
    return code(dispatch).map { KernelFailure(String(cString: $0)) }
  }
}
