import CFlashAttn
import FlashAttn

@c @implementation
public func fa_device_get_shader_options(
  _ device: OpaquePointer!, _ out: UnsafeMutablePointer<fa_shader_options>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "device_get_shader_options"
    let device = try FlashAttnABI.device(device, operation)
    #if canImport(Metal)
      throw onlySoftMetal(operation)
    #else
      let options = try softMetal(device, operation).options
      let order =
        switch options.order {
        case .forward: FA_SHADER_ORDER_FORWARD
        case .reverse: FA_SHADER_ORDER_REVERSE
        case .random: FA_SHADER_ORDER_RANDOM
        }
      try store(
        fa_shader_options(
          strict: options.mode == .strict ? 1 : 0, order: order, seed: options.seed,
          interleave: options.interleave ? 1 : 0, check: options.checks ? 1 : 0, time_limit: options.timeLimit,
          workers: Int64(options.workerLimit)), out, operation)
    #endif
  }
}

@c @implementation
public func fa_device_set_shader_options(
  _ device: OpaquePointer!, _ options: UnsafePointer<fa_shader_options>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "device_set_shader_options"
    let device = try FlashAttnABI.device(device, operation)
    guard let given = options?.pointee else { throw .null(operation, "options") }
    #if canImport(Metal)
      throw onlySoftMetal(operation)
    #else
      let soft = try softMetal(device, operation)
      var options = soft.options
      options.mode = given.strict == 0 ? .lockstep : .strict
      switch given.order {
      case FA_SHADER_ORDER_FORWARD: options.order = .forward
      case FA_SHADER_ORDER_REVERSE: options.order = .reverse
      case FA_SHADER_ORDER_RANDOM: options.order = .random
      default: throw .refused(operation, "order", expected: "0 to 2", got: "\(given.order.rawValue)")
      }
      options.seed = given.seed
      options.interleave = given.interleave != 0
      options.checks = given.check != 0
      guard given.time_limit >= 0, given.time_limit.isFinite else {
        throw .refused(operation, "time_limit", expected: "0 or more seconds", got: "\(given.time_limit)")
      }
      options.timeLimit = given.time_limit
      guard given.workers >= 0 else {
        throw .refused(operation, "workers", expected: "0 or more", got: "\(given.workers)")
      }
      options.workerLimit = Int(given.workers)
      soft.options = options
    #endif
  }
}

#if canImport(Metal)
  private func onlySoftMetal(_ operation: String) -> FAError {
    FAError(.unsupported, operation, "device", "a GPU executes shaders in its own way; SoftMetal alone has options")
  }
#else
  private func softMetal(_ device: Device, _ operation: String) throws(FAError) -> SoftMetalDevice {
    guard let soft = device.metal as? SoftMetalDevice else {
      throw .refused(operation, "device", expected: "a SoftMetal device", got: "\(type(of: device.metal))")
    }
    return soft
  }
#endif
