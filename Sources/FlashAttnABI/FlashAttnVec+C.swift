import CFlashAttn
import FlashAttn

/// A room of the vec family: its name and its passes.
private struct Room {
  let name: String
  let plan: (DecodeProblem, Tuning) throws(FAError) -> Plan

  init(_ room: fa_vec_room) throws(FAError) {
    switch room {
    case FA_VEC: (name, plan) = ("flash_attn_vec", FlashAttnVec.plan)
    case FA_VEC_PEER_PORT_F16: (name, plan) = ("flash_attn_vec_peer_port_f16", FlashAttnVecPeerPortF16.plan)
    case FA_VEC_TQ: (name, plan) = ("flash_attn_vec_tq", FlashAttnVecTq.plan)
    case FA_VEC_TQ_HB: (name, plan) = ("flash_attn_vec_tq_hb", FlashAttnVecTqHb.plan)
    default: throw .refused("flash_attn_vec", "room", expected: "0 to 3", got: "\(room.rawValue)")
    }
  }
}

extension DecodeProblem {
  fileprivate init(_ given: fa_flash_attn_vec_problem, _ operation: String) throws(FAError) {
    self.init(
      format: try kvFormat(given.format, operation), heads: Int(given.heads), kvHeads: Int(given.kv_heads),
      headDim: Int(given.head_dim), capacity: Int(given.capacity),
      keyLengths: try counts(given.kv_lens, given.batch, operation, "kv_lens"), scale: given.scale)
    queryLength = Int(given.q_len)
    if given.ring_starts != nil { ringStarts = try counts(given.ring_starts, given.batch, operation, "ring_starts") }
    switch given.mask_type {
    case 0: mask = .none
    case 1: mask = .causal
    case 2: mask = .window(Int(given.window))
    default: throw .refused(operation, "mask_type", expected: "0 to 2", got: "\(given.mask_type)")
    }
    softcap = given.softcap
    scaleFactor = given.scale_factor_d512
    nwg = given.nwg != 0 ? Int(given.nwg) : nil
    nsg = given.nsg != 0 ? Int(given.nsg) : nil
    sinks = given.has_sinks != 0
    lse = given.has_lse != 0
    rotatesQuery = given.rotate_query != 0
    undoesRotation = given.undo_rotation != 0
    seed = given.seed
  }
}

@c @implementation
public func fa_flash_attn_vec(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ room: fa_vec_room,
  _ problem: UnsafePointer<fa_flash_attn_vec_problem>!, _ buffers: UnsafePointer<fa_flash_attn_vec_buffers>!
) -> fa_status {
  call { () throws(FAError) in
    let room = try Room(room)
    let tuning = try FlashAttnABI.encoder(encoder, room.name).device.tuning
    let given = try load(buffers, room.name, "buffers")
    let plan = try room.plan(DecodeProblem(load(problem, room.name, "problem"), room.name), tuning)
    try encode(
      plan, encoder, registry, room.name,
      [
        ("q", given.q), ("k", given.k), ("k_norms", given.k_norms), ("v", given.v), ("v_norms", given.v_norms),
        ("tmp", given.tmp), ("o", given.o), ("sinks", given.sinks), ("lse", given.lse),
      ])
  }
}

@c @implementation
public func fa_flash_attn_vec_explain(
  _ device: OpaquePointer!, _ room: fa_vec_room, _ problem: UnsafePointer<fa_flash_attn_vec_problem>!,
  _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  explain(device, out, CFA_SLOT_VEC_EXPLAIN, "flash_attn_vec") { device throws(FAError) in
    let room = try Room(room)
    let problem = try DecodeProblem(load(problem, room.name, "problem"), room.name)
    return problem.explain(try room.plan(problem, device.tuning), on: device)
  }
}

@c @implementation
public func fa_flash_attn_vec_tmp_bytes(
  _ device: OpaquePointer!, _ room: fa_vec_room, _ problem: UnsafePointer<fa_flash_attn_vec_problem>!,
  _ out: UnsafeMutablePointer<UInt64>!
) -> fa_status {
  call { () throws(FAError) in
    let room = try Room(room)
    let tuning = try FlashAttnABI.device(device, room.name).tuning
    let plan = try room.plan(DecodeProblem(load(problem, room.name, "problem"), room.name), tuning)
    try store(UInt64(plan.byteCount(of: "tmp")), out, room.name)
  }
}

@c @implementation
public func fa_flash_attn_vec_reduce(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_vec_reduce_problem>!,
  _ tmp: OpaquePointer!, _ o: OpaquePointer!, _ lse: OpaquePointer!
) -> fa_status {
  let operation = "flash_attn_vec_reduce"
  return call { () throws(FAError) in
    let given = try load(problem, operation, "problem")
    var problem = FlashAttnVecReduce.Problem(
      batch: Int(given.batch), heads: Int(given.heads), queryLength: Int(given.q_len), headDim: Int(given.head_dim),
      nwg: Int(given.nwg))
    problem.lse = given.has_lse != 0
    problem.undoesRotation = given.undo_rotation != 0
    problem.seed = given.seed
    let plan =
      given.peer_port != 0 ? try FlashAttnVecPeerPortF16.merge(problem) : try FlashAttnVecReduce.merge(problem)
    try encode(plan, encoder, registry, operation, [("tmp", tmp), ("o", o), ("lse", lse)])
  }
}
