// What passes between the lanes of a vector.
#ifndef FA_SIMD_LANES_H
#define FA_SIMD_LANES_H

namespace fa::FA_ISA {

/// Lane i gets lane i ^ distance.
template <int distance>
FA_INLINE vf swap_lanes(vf x) {
  vf y;
  FA_UNROLL
  for (int i = 0; i < VW; i++) y[i] = x[i ^ distance];
  return y;
}

FA_INLINE float largest_lane(vf x) {
  if constexpr (VW > 8) x = max(x, swap_lanes<8 % VW>(x));
  if constexpr (VW > 4) x = max(x, swap_lanes<4 % VW>(x));
  x = max(x, swap_lanes<2>(x));
  return max(x, swap_lanes<1>(x))[0];
}

FA_INLINE float sum_lanes(vf x) {
  if constexpr (VW > 8) x += swap_lanes<8 % VW>(x);
  if constexpr (VW > 4) x += swap_lanes<4 % VW>(x);
  x += swap_lanes<2>(x);
  return (x + swap_lanes<1>(x))[0];
}

}  // namespace fa::FA_ISA

#endif
