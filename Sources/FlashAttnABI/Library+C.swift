import CFlashAttn
import FlashAttn

@c @implementation
public func fa_last_error() -> UnsafePointer<CChar>! { cfa_last_error_message() }

@c @implementation
public func fa_last_error_operation() -> UnsafePointer<CChar>! { cfa_last_error_operation() }

@c @implementation
public func fa_last_error_argument() -> UnsafePointer<CChar>! { cfa_last_error_argument() }

@c @implementation
public func fa_last_error_log() -> UnsafePointer<CChar>! { cfa_last_error_log() }

@c @implementation
public func fa_abi_version() -> UInt32 { UInt32(FA_ABI_VERSION) }

@c @implementation
public func fa_version() -> UnsafePointer<CChar>! { ConstantText.version.pointer }

@c @implementation
public func fa_manifest_json() -> UnsafePointer<CChar>! { ConstantText.manifest.pointer }

@c @implementation
public func fa_sizeof(_ kind: fa_struct_kind) -> Int {
  switch kind {
  case FA_STRUCT_ATTN_PARAMS: MemoryLayout<fa_attn_params>.size
  case FA_STRUCT_ATTN_MASK_PARAMS: MemoryLayout<fa_attn_mask_params>.size
  case FA_STRUCT_DEVICE_INFO: MemoryLayout<fa_device_info>.size
  case FA_STRUCT_BUFFER_INFO: MemoryLayout<fa_buffer_info>.size
  case FA_STRUCT_POOL_INFO: MemoryLayout<fa_pool_info>.size
  case FA_STRUCT_CONSTANT: MemoryLayout<fa_constant>.size
  case FA_STRUCT_ARGUMENT: MemoryLayout<fa_argument>.size
  case FA_STRUCT_DISPATCH: MemoryLayout<fa_dispatch>.size
  case FA_STRUCT_NODE_INFO: MemoryLayout<fa_node_info>.size
  case FA_STRUCT_COUNTERS: MemoryLayout<fa_counters>.size
  case FA_STRUCT_PREFILL_PROBLEM: MemoryLayout<fa_flash_attn_prefill_problem>.size
  case FA_STRUCT_PREFILL_BUFFERS: MemoryLayout<fa_flash_attn_prefill_buffers>.size
  case FA_STRUCT_TENSOR: MemoryLayout<fa_tensor>.size
  case FA_STRUCT_ATTENTION: MemoryLayout<fa_attention_args>.size
  case FA_STRUCT_ATTN_WINDOW_PARAMS: MemoryLayout<fa_attn_window_params>.size
  case FA_STRUCT_ATTN_BLK_PARAMS: MemoryLayout<fa_attn_blk_params>.size
  case FA_STRUCT_BLK_PARAMS: MemoryLayout<fa_blk_params>.size
  case FA_STRUCT_MASK_FILL_PARAMS: MemoryLayout<fa_mask_fill_params>.size
  case FA_STRUCT_BLK_PROBLEM: MemoryLayout<fa_flash_attn_prefill_blk_problem>.size
  case FA_STRUCT_MASK_PROBLEM: MemoryLayout<fa_flash_attn_prefill_mask_problem>.size
  case FA_STRUCT_FWHT_PARAMS: MemoryLayout<fa_fwht_params>.size
  case FA_STRUCT_HADAMARD_QUANTIZE_KV_PARAMS: MemoryLayout<fa_hadamard_quantize_kv_params>.size
  case FA_STRUCT_HADAMARD_QUANTIZE_KV_HB_PARAMS: MemoryLayout<fa_hadamard_quantize_kv_hb_params>.size
  case FA_STRUCT_TQ_DEQUANTIZE_KV_PARAMS: MemoryLayout<fa_tq_dequantize_kv_params>.size
  case FA_STRUCT_TQ_DEQUANTIZE_HB_KV_PARAMS: MemoryLayout<fa_tq_dequantize_hb_kv_params>.size
  case FA_STRUCT_KV_ENCODE_PARAMS: MemoryLayout<fa_kv_encode_params>.size
  case FA_STRUCT_KV_DECODE_PARAMS: MemoryLayout<fa_kv_decode_params>.size
  case FA_STRUCT_VEC_PARAMS: MemoryLayout<fa_vec_params>.size
  case FA_STRUCT_VEC_PEER_PORT_PARAMS: MemoryLayout<fa_vec_peer_port_params>.size
  case FA_STRUCT_VEC_TQ_PARAMS: MemoryLayout<fa_vec_tq_params>.size
  case FA_STRUCT_VEC_TQ_HB_PARAMS: MemoryLayout<fa_vec_tq_hb_params>.size
  case FA_STRUCT_VEC_REDUCE_PARAMS: MemoryLayout<fa_vec_reduce_params>.size
  case FA_STRUCT_DECODE_BATCH: MemoryLayout<fa_decode_batch>.size
  case FA_STRUCT_FWHT_PROBLEM: MemoryLayout<fa_fwht_problem>.size
  case FA_STRUCT_KV_ENCODE_PROBLEM: MemoryLayout<fa_kv_encode_problem>.size
  case FA_STRUCT_KV_DECODE_PROBLEM: MemoryLayout<fa_kv_decode_problem>.size
  case FA_STRUCT_HADAMARD_QUANTIZE_KV_PROBLEM: MemoryLayout<fa_hadamard_quantize_kv_problem>.size
  case FA_STRUCT_TQ_DEQUANTIZE_KV_PROBLEM: MemoryLayout<fa_tq_dequantize_kv_problem>.size
  case FA_STRUCT_VEC_PROBLEM: MemoryLayout<fa_flash_attn_vec_problem>.size
  case FA_STRUCT_VEC_BUFFERS: MemoryLayout<fa_flash_attn_vec_buffers>.size
  case FA_STRUCT_VEC_REDUCE_PROBLEM: MemoryLayout<fa_flash_attn_vec_reduce_problem>.size
  case FA_STRUCT_KV_FORMAT_INFO: MemoryLayout<fa_kv_format_info>.size
  case FA_STRUCT_KV_CACHE_CONFIG: MemoryLayout<fa_kv_cache_config>.size
  case FA_STRUCT_KV_CACHE_INFO: MemoryLayout<fa_kv_cache_info>.size
  case FA_STRUCT_KV_CACHE_QUERIES: MemoryLayout<fa_kv_cache_queries>.size
  case FA_STRUCT_DECODE_PARAMS: MemoryLayout<fa_decode_params>.size
  case FA_STRUCT_DECODE_PROBLEM: MemoryLayout<fa_flash_attn_decode_problem>.size
  case FA_STRUCT_DECODE_BUFFERS: MemoryLayout<fa_flash_attn_decode_buffers>.size
  case FA_STRUCT_SHADER_OPTIONS: MemoryLayout<fa_shader_options>.size
  case FA_STRUCT_ATTN_ALIBI_PARAMS: MemoryLayout<fa_attn_alibi_params>.size
  case FA_STRUCT_ATTN_PAGE_PARAMS: MemoryLayout<fa_attn_page_params>.size
  case FA_STRUCT_ATTENTION_VARLEN: MemoryLayout<fa_attention_varlen_args>.size
  case FA_STRUCT_DECODE_PAGES: MemoryLayout<fa_decode_pages>.size
  case FA_STRUCT_KV_PAGES: MemoryLayout<fa_kv_pages>.size
  case FA_STRUCT_KV_CACHE_BUFFERS: MemoryLayout<fa_kv_cache_buffers>.size
  default: 0
  }
}

@c @implementation
public func fa_counters_get(_ out: UnsafeMutablePointer<fa_counters>!) -> fa_status {
  call { () throws(FAError) in
    let counters = Counters.current
    try store(
      fa_counters(
        dispatches: counters.dispatches, command_buffers: counters.commandBuffers, waits: counters.waits,
        barriers: counters.barriers, auto_barriers: counters.automaticBarriers), out, "counters_get")
  }
}

@c @implementation
public func fa_counters_reset() -> fa_status {
  Counters.reset()
  return FA_OK
}

/// A C string that lives as long as its owner, or forever in a static.
final class ConstantText: Sendable {
  static let version = ConstantText(Library.version)
  static let manifest = ConstantText(Library.manifest)

  nonisolated(unsafe) let pointer: UnsafePointer<CChar>

  init(_ text: String) {
    let bytes = text.utf8CString
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
    bytes.withUnsafeBufferPointer { source in
      if let base = source.baseAddress { copy.initialize(from: base, count: source.count) }
    }
    pointer = UnsafePointer(copy)
  }

  deinit { pointer.deallocate() }
}
