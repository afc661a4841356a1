// Matrices: columns of vectors.
#pragma once

namespace metal {

template <typename T, int C, int R>
struct matrix {
  vec<T, R> columns[C];

  matrix() = default;
  /// `value` on the diagonal, 0 elsewhere.
  template <typename S, typename = enable_if_t<is_arithmetic_v<S>>>
  SM_INLINE explicit matrix(S value) {
    for (int c = 0; c < C; ++c) {
      for (int r = 0; r < R; ++r) columns[c].s[r] = c == r ? T(value) : T(0);
    }
  }
  template <typename U>
  SM_INLINE explicit matrix(const matrix<U, C, R> &other) {
    for (int c = 0; c < C; ++c) columns[c] = vec<T, R>(other.columns[c]);
  }
  template <typename... A, typename = enable_if_t<sizeof...(A) == C && ((sm_count<A> == R) && ...)>>
  SM_INLINE matrix(const A &...column) {
    int c = 0;
    ((columns[c++] = column), ...);
  }
  /// All elements, column by column.
  template <typename... A, typename = enable_if_t<sizeof...(A) == C * R && (is_arithmetic_v<A> && ...)>,
            typename = void>
  SM_INLINE matrix(A... element) {
    int i = 0;
    ((columns[i / R].s[i % R] = sm_convert<T>(element), ++i), ...);
  }
  template <typename I>
  SM_INLINE vec<T, R> &operator[](I c) {
    return columns[c];
  }
  template <typename I>
  SM_INLINE const vec<T, R> &operator[](I c) const {
    return columns[c];
  }
};

#define SM_MATRICES template <typename T, int C, int R>
SM_MATRICES SM_STATIC vec<T, R> operator*(const matrix<T, C, R> &m, const vec<T, C> &v) {
  vec<T, R> r = m.columns[0] * v.s[0];
  for (int c = 1; c < C; ++c) r = r + m.columns[c] * v.s[c];
  return r;
}
SM_MATRICES SM_STATIC vec<T, C> operator*(const vec<T, R> &v, const matrix<T, C, R> &m) {
  vec<T, C> r;
  for (int c = 0; c < C; ++c) r.s[c] = dot(v, m.columns[c]);
  return r;
}
template <typename T, int C, int K, int R>
SM_STATIC matrix<T, C, R> operator*(const matrix<T, K, R> &a, const matrix<T, C, K> &b) {
  matrix<T, C, R> r;
  for (int c = 0; c < C; ++c) r.columns[c] = a * b.columns[c];
  return r;
}
template <typename T, int C, int R, typename S, typename = enable_if_t<is_arithmetic_v<S>>>
SM_STATIC matrix<T, C, R> operator*(const matrix<T, C, R> &m, S s) {
  matrix<T, C, R> r;
  for (int c = 0; c < C; ++c) r.columns[c] = m.columns[c] * T(s);
  return r;
}
template <typename T, int C, int R, typename S, typename = enable_if_t<is_arithmetic_v<S>>>
SM_STATIC matrix<T, C, R> operator*(S s, const matrix<T, C, R> &m) {
  return m * s;
}
SM_MATRICES SM_STATIC matrix<T, C, R> operator+(const matrix<T, C, R> &a, const matrix<T, C, R> &b) {
  matrix<T, C, R> r;
  for (int c = 0; c < C; ++c) r.columns[c] = a.columns[c] + b.columns[c];
  return r;
}
SM_MATRICES SM_STATIC matrix<T, C, R> operator-(const matrix<T, C, R> &a, const matrix<T, C, R> &b) {
  matrix<T, C, R> r;
  for (int c = 0; c < C; ++c) r.columns[c] = a.columns[c] - b.columns[c];
  return r;
}
SM_MATRICES SM_STATIC matrix<T, C, R> operator-(const matrix<T, C, R> &m) {
  matrix<T, C, R> r;
  for (int c = 0; c < C; ++c) r.columns[c] = -m.columns[c];
  return r;
}
SM_MATRICES SM_STATIC bool operator==(const matrix<T, C, R> &a, const matrix<T, C, R> &b) {
  bool equal = true;
  for (int c = 0; c < C; ++c) equal &= all(a.columns[c] == b.columns[c]);
  return equal;
}
SM_MATRICES SM_STATIC bool operator!=(const matrix<T, C, R> &a, const matrix<T, C, R> &b) { return !(a == b); }
#define SM_ASSIGN(op)                                                            \
  template <typename T, int C, int R, typename B>                                \
  SM_STATIC matrix<T, C, R> &operator op## = (matrix<T, C, R> & a, const B &b) { \
    return a = a op b;                                                           \
  }
SM_ASSIGN(+)
SM_ASSIGN(-)
SM_ASSIGN(*)
#undef SM_ASSIGN

SM_MATRICES SM_STATIC matrix<T, R, C> transpose(const matrix<T, C, R> &m) {
  matrix<T, R, C> r;
  for (int c = 0; c < C; ++c) {
    for (int i = 0; i < R; ++i) r.columns[i].s[c] = m.columns[c].s[i];
  }
  return r;
}
#undef SM_MATRICES
template <typename T>
SM_STATIC T determinant(const matrix<T, 2, 2> &m) {
  return m[0].x * m[1].y - m[1].x * m[0].y;
}
template <typename T>
SM_STATIC T determinant(const matrix<T, 3, 3> &m) {
  return dot(m[0], cross(m[1], m[2]));
}
template <typename T>
SM_STATIC T determinant(const matrix<T, 4, 4> &m) {
  T r = T(0);
  for (int c = 0; c < 4; ++c) {
    vec<T, 3> minor[3];
    for (int k = 0, to = 0; k < 4; ++k) {
      if (k != c) minor[to++] = vec<T, 3>(m[k].y, m[k].z, m[k].w);
    }
    const T term = m[c].x * dot(minor[0], cross(minor[1], minor[2]));
    r = c % 2 == 0 ? r + term : r - term;
  }
  return r;
}

}  // namespace metal

#define SM_MATRIX(T, C)                    \
  typedef metal::matrix<T, C, 2> T##C##x2; \
  typedef metal::matrix<T, C, 3> T##C##x3; \
  typedef metal::matrix<T, C, 4> T##C##x4;
SM_MATRIX(float, 2)
SM_MATRIX(float, 3)
SM_MATRIX(float, 4)
SM_MATRIX(half, 2)
SM_MATRIX(half, 3)
SM_MATRIX(half, 4)
#undef SM_MATRIX
using metal::matrix;
