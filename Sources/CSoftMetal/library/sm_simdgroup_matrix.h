// Matrices of a simdgroup: 8x8 elements, two in each lane.
#pragma once

// Apple's layout: lane 4 q + r has columns c and c + 1 of one row.
SM_STATIC uint32_t sm_matrix_row(uint32_t lane) { return (lane >> 2 & 4) + (lane >> 1 & 3); }
SM_STATIC uint32_t sm_matrix_column(uint32_t lane) { return (lane >> 2 & 2) * 2 + (lane & 1) * 2; }

typedef float sm_float8 __attribute__((ext_vector_type(8)));
typedef float sm_float2 __attribute__((ext_vector_type(2)));

/// The three operands as float; the sum replaces the third. Every product is added with one rounding, in the order of
/// the inner dimension.
struct sm_matrix_product {
  static void combine(softmetal::Bank &bank, uint32_t) {
    const float *a = reinterpret_cast<const float *>(bank.slots + softmetal::kMatrixOffset);
    const sm_float8 *b = reinterpret_cast<const sm_float8 *>(a + 64);
    sm_float8 *c = reinterpret_cast<sm_float8 *>(bank.slots + softmetal::kMatrixOffset) + 16;
    for (int row = 0; row < 8; ++row) {
      sm_float8 sum = c[row];
      for (int k = 0; k < 8; ++k) sum = __builtin_elementwise_fma(sm_float8(a[row * 8 + k]), b[k], sum);
      c[row] = sum;
    }
  }
};

namespace metal {

template <typename T, int C, int R>
struct simdgroup_matrix {
  static_assert(C == 8 && R == 8, "simdgroup_matrix: expected 8 columns and 8 rows");
  static_assert(is_floating_point_v<T>, "simdgroup_matrix: expected elements of type half, bfloat or float");
  typedef T value_type;
  vec<T, 2> elements;

  simdgroup_matrix() = default;
  SM_INLINE explicit simdgroup_matrix(T diagonal) {
    const uint32_t lane = softmetal::CurrentLane()->id, row = sm_matrix_row(lane), column = sm_matrix_column(lane);
    elements = vec<T, 2>(row == column ? diagonal : T(0), row == column + 1 ? diagonal : T(0));
  }
  SM_INLINE vec<T, 2> &thread_elements() { return elements; }
  SM_INLINE const vec<T, 2> &thread_elements() const { return elements; }
};

template <typename T, int C, int R = C>
SM_STATIC simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T value) {
  simdgroup_matrix<T, C, R> m;
  m.elements = vec<T, 2>(value);
  return m;
}
template <typename T, int C, int R = C>
SM_STATIC simdgroup_matrix<T, C, R> make_diagonal_simdgroup_matrix(T value) {
  return simdgroup_matrix<T, C, R>(value);
}

/// Where the caller's two elements are, relative to the first one of the matrix.
struct sm_matrix_place {
  ulong first, second;
};
SM_STATIC sm_matrix_place sm_matrix_places(ulong stride, vec<ulong, 2> origin, bool transpose) {
  const uint32_t lane = softmetal::CurrentLane()->id;
  const ulong row = sm_matrix_row(lane), column = sm_matrix_column(lane), at = origin.y * stride + origin.x;
  if (transpose) return {at + column * stride + row, at + (column + 1) * stride + row};
  return {at + row * stride + column, at + row * stride + column + 1};
}
template <typename T, typename P>
SM_STATIC void simdgroup_load(simdgroup_matrix<T, 8, 8> &m, const P *source, ulong elements_per_row = 8,
                              vec<ulong, 2> origin = vec<ulong, 2>(0ul), bool transpose = false) {
  static_assert(is_same_v<remove_cv_t<P>, T>, "simdgroup_load: expected memory of the matrix's element type");
  const sm_matrix_place at = sm_matrix_places(elements_per_row, origin, transpose);
  m.elements.x = source[at.first];
  m.elements.y = source[at.second];
}
template <typename T, typename P>
SM_STATIC void simdgroup_store(const simdgroup_matrix<T, 8, 8> &m, P *target, ulong elements_per_row = 8,
                               vec<ulong, 2> origin = vec<ulong, 2>(0ul), bool transpose = false, SM_SITE) {
  static_assert(is_same_v<P, T>, "simdgroup_store: expected memory of the matrix's element type");
#if SM_LOCKSTEP
  sm_lockstep(sm_line, sm_column);
#endif
  const sm_matrix_place at = sm_matrix_places(elements_per_row, origin, transpose);
  target[at.first] = m.elements.x;
  target[at.second] = m.elements.y;
}

template <typename TD, typename TA, typename TB, typename TC>
SM_STATIC void simdgroup_multiply_accumulate(simdgroup_matrix<TD, 8, 8> &d, const simdgroup_matrix<TA, 8, 8> &a,
                                             const simdgroup_matrix<TB, 8, 8> &b, const simdgroup_matrix<TC, 8, 8> &c,
                                             SM_SITE) {
  softmetal::Lane *lane = softmetal::CurrentLane();
  softmetal::Simdgroup *simdgroup = lane->simdgroup;
  const uint32_t at = sm_matrix_row(lane->id) * 8 + sm_matrix_column(lane->id);
  float *slot = reinterpret_cast<float *>(simdgroup->filling->slots + softmetal::kMatrixOffset) + at;
  *reinterpret_cast<sm_float2 *>(slot) = __builtin_convertvector(a.elements.n, sm_float2);
  *reinterpret_cast<sm_float2 *>(slot + 64) = __builtin_convertvector(b.elements.n, sm_float2);
  *reinterpret_cast<sm_float2 *>(slot + 128) = __builtin_convertvector(c.elements.n, sm_float2);
  softmetal::Bank &bank = sm_rendezvous<sm_matrix_product>(lane, simdgroup, SM_PLACE);
  const float *sum = reinterpret_cast<const float *>(bank.slots + softmetal::kMatrixOffset) + at + 128;
  d.elements = vec<TD, 2>(TD(sum[0]), TD(sum[1]));
}
template <typename TD, typename TA, typename TB>
SM_STATIC void simdgroup_multiply(simdgroup_matrix<TD, 8, 8> &d, const simdgroup_matrix<TA, 8, 8> &a,
                                  const simdgroup_matrix<TB, 8, 8> &b, SM_SITE) {
  simdgroup_multiply_accumulate(d, a, b, make_filled_simdgroup_matrix<TD, 8, 8>(TD(0)), sm_line, sm_column);
}
// An operator has no default arguments, so all products of a kind have one place.
template <typename T>
SM_STATIC simdgroup_matrix<T, 8, 8> operator*(const simdgroup_matrix<T, 8, 8> &a, const simdgroup_matrix<T, 8, 8> &b) {
  simdgroup_matrix<T, 8, 8> d;
  simdgroup_multiply(d, a, b);
  return d;
}

}  // namespace metal

typedef metal::simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef metal::simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef metal::simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;
