// How a KV cache keeps its vectors, for the native kernels; docs/codec.md is the specification.
#ifndef FA_CPU_CODEC_FORMATS_H
#define FA_CPU_CODEC_FORMATS_H

#include <cstdint>

#include "../arguments.h"

namespace fa {

/// How a row of the cache is read. Formats that differ in their tables alone share one.
enum class RowFormat { f32, f16, bf16, q8, tq2, tq3, tq4, tq5, tq6, tq7, tq8, byte5, byte6 };
constexpr int row_format_count = 13;

/// A format of fa_kv_format.
struct KvFormat {
  RowFormat rows;
  int bits;    ///< of a code; 0 without a table
  int packed;  ///< bits that a coordinate takes in a row
  int version; ///< of the codec; 0: kept as they are
  /// Ascending and symmetric, repeated to 16 of them at least; 64-byte aligned.
  const float *centroids = nullptr;
  const float *boundaries = nullptr;  ///< 2^bits - 1, likewise
  /// The same as a search meets them: its node i has the children 2 i and 2 i + 1; padded.
  const float *tree = nullptr;
  const uint8_t *planes = nullptr;  ///< bytes 0, 1, 2, 3 of the positive centroids, 128 of each, repeated
  /// Bytes 0 and 1 of the centroids in bf16, 128 of each, repeated; of 256 centroids the positive ones.
  const uint8_t *pair_planes = nullptr;

  int64_t row_bytes(int head_dim) const { return int64_t(head_dim) * packed / 8; }
  bool dense() const { return version == 0; }
};

/// Null if there is no such format.
const KvFormat *kv_format(int32_t id);

/// Signs of the default rotation; bit j & 7 of byte j >> 3 negates coordinate j.
extern const uint8_t *const default_signs;

/// What scale_factor_d512 stands for.
inline float factor_v1(float scale_factor_d512) { return scale_factor_d512 < 1e-6f ? 1.0f : scale_factor_d512; }

/// Norms of a vector.
constexpr int norms_per_row(int version, int head_dim) {
  return version == 0 ? 0 : version == 1 && head_dim == 512 ? 2 : 1;
}

constexpr int most_coordinates = 512;
constexpr bool head_dim_offered(uint32_t d) { return d == 64 || d == 128 || d == 256 || d == 512; }

}  // namespace fa

#endif
