import CFlashAttn
import FlashAttn

/// A capture and the kernel names lent out with its nodes.
final class CaptureHandle: HandleObject {
  static var kind: HandleKind { .capture }

  let capture: Capture
  let names: [ConstantText?]

  init(_ capture: Capture) {
    self.capture = capture
    names = capture.nodes.map { if case .dispatch(let dispatch) = $0 { ConstantText(dispatch.kernel) } else { nil } }
  }
}

private func capture(_ handle: OpaquePointer?, _ operation: String) throws(FAError) -> CaptureHandle {
  try Handles.get(handle, as: CaptureHandle.self, operation, "capture")
}

@c @implementation
public func fa_encoder_start_capture(_ encoder: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try FlashAttnABI.encoder(encoder, "encoder_start_capture").startCapture() }
}

@c @implementation
public func fa_encoder_take_capture(
  _ encoder: OpaquePointer!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  call { () throws(FAError) in
    let encoder = try FlashAttnABI.encoder(encoder, "encoder_take_capture")
    try store(
      handleOf: { () throws(FAError) in CaptureHandle(try encoder.takeCapture()) }, out, "encoder_take_capture")
  }
}

@c @implementation
public func fa_encoder_replay(_ encoder: OpaquePointer!, _ capture: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in
    let encoder = try FlashAttnABI.encoder(encoder, "encoder_replay")
    try encoder.replay(try FlashAttnABI.capture(capture, "encoder_replay").capture)
  }
}

@c @implementation
public func fa_capture_retain(_ capture: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.retain(capture, .capture, "capture_retain") }
}

@c @implementation
public func fa_capture_release(_ capture: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.release(capture, .capture, "capture_release") }
}

@c @implementation
public func fa_capture_count(_ capture: OpaquePointer!, _ out: UnsafeMutablePointer<UInt64>!) -> fa_status {
  call { () throws(FAError) in
    let nodes = try FlashAttnABI.capture(capture, "capture_count").capture.nodes
    try store(UInt64(nodes.count), out, "capture_count")
  }
}

@c @implementation
public func fa_capture_node(
  _ capture: OpaquePointer!, _ index: UInt64, _ out: UnsafeMutablePointer<fa_node_info>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "capture_node"
    let handle = try FlashAttnABI.capture(capture, operation)
    let nodes = handle.capture.nodes
    guard index < nodes.count else {
      throw .refused(operation, "index", expected: "less than \(nodes.count)", got: "\(index)")
    }
    var info = fa_node_info()
    switch nodes[Int(index)] {
    case .barrier: info.is_barrier = 1
    case .dispatch(let dispatch):
      info.kernel = handle.names[Int(index)]?.pointer
      info.op = fa_op_kind(rawValue: dispatch.op.rawValue)
      info.unit = fa_grid_unit(rawValue: dispatch.unit.rawValue)
      info.argument_count = Int32(dispatch.arguments.count)
      info.grid = dispatch.grid.packed
      info.threads = dispatch.threads.packed
    }
    try store(info, out, operation)
  }
}

extension Size3 {
  fileprivate var packed: (Int64, Int64, Int64) { (Int64(x), Int64(y), Int64(z)) }
}
