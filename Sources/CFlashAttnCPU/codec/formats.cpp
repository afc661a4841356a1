#include "formats.h"

#include <cstring>

#include "../../../shaders/include/codebook.h"
#include "../../../shaders/include/fwht.h"
#include "flash_attn_params.h"

namespace fa {
namespace {

/// To nearest, ties to even.
uint16_t bf16_of(float x) {
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  return uint16_t((word + 0x7fff + (word >> 16 & 1)) >> 16);
}

/// A table as the kernels want it.
template <int bits>
struct alignas(64) Table {
  static constexpr int size = 1 << bits;
  static constexpr int repeated = size < 16 ? 16 : size;
  float centroids[repeated];
  float tree[size + 16];
  uint8_t planes[4][128];
  uint8_t pair_planes[2][128];

  Table(const float (&from)[size], const float (&boundaries)[size - 1]) : tree() {
    for (int level = 0; level < bits; level++) {
      const int step = size >> (level + 1);
      for (int i = 0; i < 1 << level; i++) tree[(1 << level) + i] = boundaries[(2 * i + 1) * step - 1];
    }
    for (int i = 0; i < repeated; i++) centroids[i] = from[i % size];
    for (int i = 0; i < 128; i++) {
      uint32_t word;
      std::memcpy(&word, &from[size / 2 + i % (size / 2)], sizeof word);
      for (int byte = 0; byte < 4; byte++) planes[byte][i] = uint8_t(word >> (8 * byte));
      const uint16_t half = bf16_of(from[size > 128 ? size / 2 + i : i % size]);
      for (int byte = 0; byte < 2; byte++) pair_planes[byte][i] = uint8_t(half >> (8 * byte));
    }
  }
};

template <int bits>
KvFormat coded(RowFormat rows, int packed, int version, const Table<bits> &table,
               const float (&boundaries)[(1 << bits) - 1]) {
  return {rows, bits, packed, version, table.centroids, boundaries, table.tree, table.planes[0], table.pair_planes[0]};
}

}  // namespace

const uint8_t *const default_signs = fa_default_signs;

const KvFormat *kv_format(int32_t id) {
#define FA_CODED(NAME, BITS, ROWS, PACKED, VERSION)                                     \
  static const Table<BITS> NAME##_table(fa_##NAME##_centroids, fa_##NAME##_boundaries); \
  static const KvFormat NAME = coded<BITS>(RowFormat::ROWS, PACKED, VERSION, NAME##_table, fa_##NAME##_boundaries);
  FA_CODED(tq2, 2, tq2, 2, 2)
  FA_CODED(tq3, 3, tq3, 3, 2)
  FA_CODED(tq4, 4, tq4, 4, 2)
  FA_CODED(tq5, 5, tq5, 5, 2)
  FA_CODED(tq6, 6, tq6, 6, 2)
  FA_CODED(tq7, 7, tq7, 7, 2)
  FA_CODED(tq8, 8, tq8, 8, 2)
  FA_CODED(tq4_v1, 4, tq4, 4, 1)
  FA_CODED(tq_hb5, 5, byte5, 8, 1)
  FA_CODED(tq_hb6, 6, byte6, 8, 1)
  FA_CODED(tq_hb8, 8, tq8, 8, 1)
#undef FA_CODED
  static const KvFormat f32 = {RowFormat::f32, 0, 32, 0};
  static const KvFormat f16 = {RowFormat::f16, 0, 16, 0};
  static const KvFormat bf16 = {RowFormat::bf16, 0, 16, 0};
  static const KvFormat q8 = {RowFormat::q8, 0, 8, 2};
  switch (id) {
    case FA_KV_F32:
      return &f32;
    case FA_KV_F16:
      return &f16;
    case FA_KV_BF16:
      return &bf16;
    case FA_KV_Q8:
      return &q8;
    case FA_KV_TQ2:
      return &tq2;
    case FA_KV_TQ3:
      return &tq3;
    case FA_KV_TQ4:
      return &tq4;
    case FA_KV_TQ5:
      return &tq5;
    case FA_KV_TQ6:
      return &tq6;
    case FA_KV_TQ7:
      return &tq7;
    case FA_KV_TQ8:
      return &tq8;
    case FA_KV_TQ4_V1:
      return &tq4_v1;
    case FA_KV_TQ_HB5:
      return &tq_hb5;
    case FA_KV_TQ_HB6:
      return &tq_hb6;
    case FA_KV_TQ_HB8:
      return &tq_hb8;
    default:
      return nullptr;
  }
}

}  // namespace fa
