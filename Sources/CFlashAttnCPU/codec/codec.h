// Appending vectors to a cache, reading them back, and rotating them.
#ifndef FA_CPU_CODEC_CODEC_H
#define FA_CPU_CODEC_CODEC_H

#include "../decode/passes.h"
#include "quantize.h"

namespace fa::FA_ISA {

constexpr int vectors_per_task = 16;

FA_NOINLINE void fwht_task(void *context, uint64_t index, uint32_t) {
  const FwhtProblem &p = *static_cast<const FwhtProblem *>(context);
  const int64_t first = int64_t(index) * vectors_per_task;
  for (int64_t row = first; row < p.rows && row < first + vectors_per_task; row++) {
    float *x = reinterpret_cast<float *>(p.data) + row * p.head_dim;
    if (p.before != nullptr) flip_signs(x, p.head_dim, p.before);
    fwht(x, p.head_dim);
    if (p.behind != nullptr) flip_signs(x, p.head_dim, p.behind);
  }
}

static void fwht_rows(const FwhtProblem &problem) {
  FwhtProblem p = problem;
  run(p.executor, uint64_t(ceil_div(p.rows, vectors_per_task)), fwht_task, &p, uint64_t(p.rows) * p.head_dim);
}

/// Codes and norms of a rotated vector.
FA_INLINE void encode_rotated(const EncodeProblem &p, float *x, int64_t row, char *probe) {
  const KvFormat &format = *p.format;
  uint8_t codes[most_coordinates];
  if (format.rows == RowFormat::q8) {
    store_norm(p.norms, row, linear_codes(x, p.head_dim, p.norms_f16, codes), p.norms_f16);
  } else {
    const int norms = norms_per_row(format.version, p.head_dim), part = p.head_dim / norms;
    for (int i = 0; i < norms; i++) {
      const float square = squared_length(x + i * part, part);
      float norm = stored_norm(__builtin_sqrtf(norms == 2 ? square / float(part) : square), p.norms_f16);
      const float factor = norms == 2 ? p.factor_d512 : __builtin_sqrtf(float(p.head_dim));
      const float scale = norm > least_norm ? factor / norm : 0.0f;
      if (format.version == 2 && norm <= least_norm) norm = 0.0f;
      nearest_codes(format, x + i * part, part, scale, codes + i * part);
      store_norm(p.norms, row * norms + i, norm, p.norms_f16);
    }
  }
  if (probe != nullptr) __builtin_memcpy(probe, x, uint64_t(p.head_dim) * sizeof(float));
  store_codes(p.data + row * format.row_bytes(p.head_dim), codes, format.packed, p.head_dim);
}

FA_INLINE void encode_vector(const EncodeProblem &p, int64_t token, int64_t head, int64_t b) {
  int64_t slot = (p.write_positions == nullptr ? p.write_pos : load<uint32_t>(p.write_positions + b * 4)) + token;
  if (p.ring) {
    // Of tokens that share a slot the last one stays.
    if (token + p.capacity < p.all_tokens) return;
    slot %= p.capacity;
  } else if (slot >= p.capacity) {
    return;
  }
  const int64_t row = (b * p.kv_heads + head) * p.capacity + slot;
  const char *from = p.src + b * p.strides[0] + head * p.strides[1] + token * p.strides[2];
  alignas(64) float x[most_coordinates];
  read_vector(x, from, p.elem, p.head_dim);
  if (p.format->dense()) {
    const Elem elem = p.format->rows == RowFormat::f32   ? Elem::f32
                      : p.format->rows == RowFormat::f16 ? Elem::f16
                                                         : Elem::bf16;
    write_vector(p.data + row * p.format->row_bytes(p.head_dim), x, elem, p.head_dim);
    return;
  }
  rotate(x, p.head_dim, p.signs);
  char *probe = p.probe == nullptr ? nullptr : p.probe + (token * p.kv_heads + head) * p.head_dim * 4;
  encode_rotated(p, x, row, probe);
}

/// Vectors are counted head by head, token by token, as they lie in the cache.
template <typename Problem, void (*body)(const Problem &, int64_t token, int64_t head, int64_t b)>
FA_NOINLINE void vectors_task(void *context, uint64_t index, uint32_t) {
  const Problem &p = *static_cast<const Problem *>(context);
  const int64_t count = p.batch * p.kv_heads * p.tokens, first = int64_t(index) * vectors_per_task;
  for (int64_t i = first; i < count && i < first + vectors_per_task; i++) {
    body(p, i % p.tokens, i / p.tokens % p.kv_heads, i / p.tokens / p.kv_heads);
  }
}

template <typename Problem, void (*body)(const Problem &, int64_t token, int64_t head, int64_t b)>
FA_INLINE void run_vectors(const Problem &problem) {
  Problem p = problem;
  const int64_t count = p.batch * p.kv_heads * p.tokens;
  run(p.executor, uint64_t(ceil_div(count, vectors_per_task)), vectors_task<Problem, body>, &p,
      uint64_t(count) * p.head_dim * 4);
}

static void encode(const EncodeProblem &problem) { run_vectors<EncodeProblem, encode_vector>(problem); }

FA_INLINE void dequantize_vector(const DequantizeProblem &p, int64_t token, int64_t head, int64_t b) {
  int64_t slot = int64_t(p.read_pos) + token;
  if (p.ring) {
    slot %= p.capacity;
  } else if (slot >= p.capacity) {
    return;
  }
  const int64_t row = (b * p.heads + head) * p.capacity + slot;
  const RowPasses &rows = passes(p.format->rows, p.head_dim, Elem::f32, 1);
  const Places &places = places_of(rows.keys);
  alignas(64) float found[most_coordinates], x[most_coordinates];
  rows.expand(*p.format, p.data + row * p.format->row_bytes(p.head_dim), p.head_dim, found);
  for (int e = 0; e < p.head_dim; e++) x[e] = found[places.at[e]];
  const int norms = norms_per_row(p.format->version, p.head_dim);
  for (int i = 0; i < norms; i++) {
    const float scale = load_norm(p.norms, row * p.row_norms + i, p.norms_f16) * p.factor;
    const int part = p.head_dim / norms;
    for (int e = i * part; e < (i + 1) * part; e += VW) store(x + e, load<vf>(x + e) * scale);
  }
  if (p.unrotate != nullptr) unrotate(x, p.head_dim, p.unrotate);
  const int64_t to = (b * p.heads + head) * p.out_tokens + token;
  write_vector(p.out + to * p.head_dim * elem_bytes(p.elem), x, p.elem, p.head_dim);
}

static void dequantize(const DequantizeProblem &problem) { run_vectors<DequantizeProblem, dequantize_vector>(problem); }

}  // namespace fa::FA_ISA

#endif
