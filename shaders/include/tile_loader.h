// Cooperative copy of row-major tiles from device to threadgroup memory.
#ifndef FA_TILE_LOADER_H
#define FA_TILE_LOADER_H

#include <metal_stdlib>

#include "unroll.h"

namespace fa {

/// Copies tiles of ROWS rows by D columns with THREADS threads, in two steps: `fetch` reads device memory into
/// registers, `store` writes them to threadgroup memory. Fetching a tile before the previous one is used hides the
/// latency of the reads. Elements are read singly, so that rows need no more than the alignment of T.
template <typename T, int ROWS, int D, int THREADS>
struct tile_loader {
  static_assert(D % 8 == 0 && ROWS % 8 == 0, "a tile is made of 8x8 matrices");

  // 16 bytes of padding let equal columns of successive rows fall into different banks.
  static constant constexpr int row_stride = D + 16 / int(sizeof(T));
  static constant constexpr int row_chunks = D / 4;
  static constant constexpr int chunks = ROWS * row_chunks;
  static constant constexpr int chunks_per_thread = (chunks + THREADS - 1) / THREADS;
  /// Length of a tile in threadgroup memory, in vectors of four.
  static constant constexpr int tile_vectors = ROWS * row_stride / 4;

  metal::vec<T, 4> held[chunks_per_thread];

  /// Reads `valid_rows` rows, where `rows` says; the rest of the tile becomes zero and is not read.
  template <typename Rows>
  inline void fetch(Rows rows, int valid_rows, ushort thread_index) {
    FA_UNROLL
    for (int i = 0; i < chunks_per_thread; i++) {
      const int chunk = i * THREADS + thread_index;
      const int row = chunk / row_chunks;
      held[i] = metal::vec<T, 4>(T(0.0f));
      if (row < valid_rows) {
        device const T *from = rows.at(row) + (chunk % row_chunks) * 4;
        held[i] = metal::vec<T, 4>(from[0], from[1], from[2], from[3]);
      }
    }
  }

  /// The caller puts a threadgroup barrier before (the tile's readers are done) and after (its writers are).
  inline void store(threadgroup metal::vec<T, 4> *tile, ushort thread_index) {
    FA_UNROLL
    for (int i = 0; i < chunks_per_thread; i++) {
      const int chunk = i * THREADS + thread_index;
      if (chunk < chunks) {
        tile[(chunk / row_chunks) * (row_stride / 4) + chunk % row_chunks] = held[i];
      }
    }
  }
};

}  // namespace fa

#endif
