import CFlashAttn
import FlashAttn

private let operation = "attention_varlen"

extension AttentionVarlen {
  init(_ given: fa_attention_varlen_args) throws(FAError) {
    func tensor(_ given: fa_tensor, _ name: String) throws(FAError) -> HostTensor {
      try HostTensor(given, name, operation)
    }
    let batch = given.batch
    self.init(
      q: try tensor(given.q, "q"), k: try tensor(given.k, "k"), v: try tensor(given.v, "v"),
      o: try tensor(given.o, "o"),
      queryStarts: try counts(given.q_starts, batch, extra: 1, most: mostPackedSequences, operation, "q_starts"))
    if given.k_starts != nil {
      keyStarts = try counts(given.k_starts, batch, extra: 1, most: mostPackedSequences, operation, "k_starts")
    }
    if given.kv_lens != nil {
      keyLengths = try counts(given.kv_lens, batch, most: mostPackedSequences, operation, "kv_lens")
    }
    if given.block_table != nil {
      let table = try blockTable(given.block_table, batch, given.pages_per_sequence, operation)
      pages = Pages(table: table, columns: Int(given.pages_per_sequence))
    }
    if given.sinks.data != nil { sinks = try tensor(given.sinks, "sinks") }
    if given.alibi.data != nil { alibi = try tensor(given.alibi, "alibi") }
    if given.lse.data != nil { lse = try tensor(given.lse, "lse") }
    causal = given.causal != 0
    softcap = given.softcap
    if given.has_window != 0 { window = Window(left: Int(given.window.0), right: Int(given.window.1)) }
    scale = given.has_scale != 0 ? given.scale : nil
  }
}

/// Starts have one more entry than sequences.
let mostPackedSequences = Int(Int32.max) - 1

/// A caller's entries of `columns` pages for each sequence.
func blockTable(
  _ pointer: UnsafePointer<UInt32>, _ batch: Int64, _ columns: Int64, _ operation: String
) throws(FAError) -> [UInt32] {
  let (count, overflow) = batch.multipliedReportingOverflow(by: columns)
  guard !overflow, batch >= 0, (0...Int64(Int32.max)).contains(columns), count <= Int64(Int32.max) else {
    throw .refused(operation, "block_table", expected: "at most \(Int32.max) entries", got: "[\(batch), \(columns)]")
  }
  return Array(UnsafeBufferPointer(start: pointer, count: Int(count)))
}

@c @implementation
public func fa_attention_varlen(_ device: OpaquePointer!, _ args: UnsafePointer<fa_attention_varlen_args>!) -> fa_status
{
  call { () throws(FAError) in
    let device = try FlashAttnABI.device(device, operation)
    try AttentionVarlen(load(args, operation, "args"))(on: device)
  }
}

@c @implementation
public func fa_attention_varlen_explain(
  _ device: OpaquePointer!, _ args: UnsafePointer<fa_attention_varlen_args>!,
  _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  explain(device, out, CFA_SLOT_ATTENTION_EXPLAIN, operation) { device throws(FAError) in
    try AttentionVarlen(load(args, operation, "args")).explain(on: device)
  }
}
