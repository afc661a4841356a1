// The rotation of the KV codec on float rows, in place: one simdgroup per row. docs/codec.md has the definition.

#include <metal_stdlib>

#pragma METAL fp math_mode(safe)

#include "flash_attn_params.h"
#include "fwht.h"
#include "unroll.h"

using namespace metal;

constant bool has_signs [[function_constant(55)]];  // slot 2 is bound; may be left undefined
constant bool own_signs = is_function_constant_defined(has_signs) ? has_signs : false;

/// Where the signs go: before the transform that is R, behind it the inverse of R.
enum flip { none, before, behind };

template <int D, flip F>
[[kernel, max_total_threads_per_threadgroup(32)]] void fwht_rows(
    device float *data [[buffer(0)]],                                           // [rows, D]
    constant fa_fwht_params &params [[buffer(1)]],                              //
    constant uchar *signs [[buffer(2), function_constant(own_signs)]],          // D / 8 bytes
    uint row [[threadgroup_position_in_grid]], ushort lane [[thread_index_in_simdgroup]]) {
  constexpr int E = D / 32;
  if (row >= params.num_heads) {
    return;
  }
  device float *at = data + long(row) * D + lane * E;
  constant const uchar *table = own_signs ? signs : fa_default_signs;
  float x[E];
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    x[i] = at[i];
  }
  if (F == before) {
    fa::flip_signs(x, table, lane);
  }
  fa::fwht(x, lane);
  if (F == behind) {
    fa::flip_signs(x, table, lane);
  }
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    at[i] = x[i];
  }
}

template [[host_name("fwht_standalone_f32_d64")]] kernel decltype(fwht_rows<64, none>) fwht_rows<64, none>;
template [[host_name("fwht_sign_premult_f32_d64")]] kernel decltype(fwht_rows<64, before>) fwht_rows<64, before>;
template [[host_name("fwht_sign_undo_f32_d64")]] kernel decltype(fwht_rows<64, behind>) fwht_rows<64, behind>;
template [[host_name("fwht_standalone_f32_d128")]] kernel decltype(fwht_rows<128, none>) fwht_rows<128, none>;
template [[host_name("fwht_sign_premult_f32_d128")]] kernel decltype(fwht_rows<128, before>) fwht_rows<128, before>;
template [[host_name("fwht_sign_undo_f32_d128")]] kernel decltype(fwht_rows<128, behind>) fwht_rows<128, behind>;
template [[host_name("fwht_standalone_f32_d256")]] kernel decltype(fwht_rows<256, none>) fwht_rows<256, none>;
template [[host_name("fwht_sign_premult_f32_d256")]] kernel decltype(fwht_rows<256, before>) fwht_rows<256, before>;
template [[host_name("fwht_sign_undo_f32_d256")]] kernel decltype(fwht_rows<256, behind>) fwht_rows<256, behind>;
template [[host_name("fwht_standalone_f32_d512")]] kernel decltype(fwht_rows<512, none>) fwht_rows<512, none>;
template [[host_name("fwht_sign_premult_f32_d512")]] kernel decltype(fwht_rows<512, before>) fwht_rows<512, before>;
template [[host_name("fwht_sign_undo_f32_d512")]] kernel decltype(fwht_rows<512, behind>) fwht_rows<512, behind>;
