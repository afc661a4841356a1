// What passes between the lanes of a vector.
#ifndef FA_SIMD_LANES_H
#define FA_SIMD_LANES_H

namespace fa::FA_ISA {

/// Lane i gets lane i ^ distance.
template <int distance, typename V>
FA_INLINE V swap_lanes(V x) {
  V y;
  FA_UNROLL
  for (int i = 0; i < VW; i++) y[i] = x[i ^ distance];
  return y;
}

/// Lane i is negated if bit i is set.
FA_INLINE vf negate_where(uint32_t bits, vf x) {
  return ((vu(bits) >> __builtin_convertvector(lane_index(), vu)) & 1) != 0 ? -x : x;
}

/// What all lanes come to, in each.
template <typename V, typename Op>
FA_INLINE V fold_lanes(V x, Op op) {
  if constexpr (VW > 8) x = op(x, swap_lanes<8 % VW>(x));
  if constexpr (VW > 4) x = op(x, swap_lanes<4 % VW>(x));
  x = op(x, swap_lanes<2>(x));
  return op(x, swap_lanes<1>(x));
}

FA_INLINE float largest_lane(vf x) { return fold_lanes(x, Larger())[0]; }
FA_INLINE float sum_lanes(vf x) { return fold_lanes(x, Plus())[0]; }

/// The same of one vector, or, where VW is 16, of up to four: lane i has what x[i] comes to.
template <int count, typename V, typename Op>
FA_INLINE V fold_each(const V (&x)[count], Op op) {
  if constexpr (count == 1) {
    return fold_lanes(x[0], op);
  } else {
    V shares = fold_four(x[0], x[1], x[2 % count], x[3 % count], op);
    shares = op(shares, swap_lanes<8>(shares));
    return op(shares, swap_lanes<4>(shares));
  }
}

}  // namespace fa::FA_ISA

#endif
