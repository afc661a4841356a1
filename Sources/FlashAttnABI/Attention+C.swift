import CFlashAttn
import FlashAttn

extension HostTensor {
  init(_ given: fa_tensor, _ name: String, _ operation: String = "attention") throws(FAError) {
    let (shape, strides) = (given.shape, given.strides)
    self.init(
      data: given.data, dtype: try FlashAttnABI.dtype(given.dtype, operation, name), rank: Int(given.rank),
      shape: SIMD4(Int(shape.0), Int(shape.1), Int(shape.2), Int(shape.3)),
      strides: SIMD4(Int(strides.0), Int(strides.1), Int(strides.2), Int(strides.3)),
      isReadOnly: given.read_only != 0)
  }
}

extension Attention {
  init(_ given: fa_attention_args) throws(FAError) {
    self.init(
      q: try HostTensor(given.q, "q"), k: try HostTensor(given.k, "k"), v: try HostTensor(given.v, "v"),
      o: try HostTensor(given.o, "o"))
    if given.mask.data != nil { mask = try HostTensor(given.mask, "mask") }
    if given.sinks.data != nil { sinks = try HostTensor(given.sinks, "sinks") }
    if given.lse.data != nil { lse = try HostTensor(given.lse, "lse") }
    if given.alibi.data != nil { alibi = try HostTensor(given.alibi, "alibi") }
    switch given.layout {
    case FA_LAYOUT_BHLD: layout = .bhld
    case FA_LAYOUT_BLHD: layout = .blhd
    default: throw .refused("attention", "layout", expected: "0 or 1", got: "\(given.layout.rawValue)")
    }
    causal = given.causal != 0
    softcap = given.softcap
    if given.has_window != 0 { window = Window(left: Int(given.window.0), right: Int(given.window.1)) }
    scale = given.has_scale != 0 ? given.scale : nil
    queryOffset = given.has_q_offset != 0 ? Int(given.q_offset) : nil
  }
}

@c @implementation
public func fa_attention(_ device: OpaquePointer!, _ args: UnsafePointer<fa_attention_args>!) -> fa_status {
  call { () throws(FAError) in
    let device = try FlashAttnABI.device(device, "attention")
    try Attention(load(args, "attention", "args"))(on: device)
  }
}

@c @implementation
public func fa_attention_explain(
  _ device: OpaquePointer!, _ args: UnsafePointer<fa_attention_args>!,
  _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  explain(device, out, CFA_SLOT_ATTENTION_EXPLAIN, "attention") { device throws(FAError) in
    try Attention(load(args, "attention", "args")).explain(on: device)
  }
}
