// Vectors and packed vectors.
#pragma once

namespace metal {

template <typename T, int N>
struct vec;
template <typename T, int N>
struct packed_vec;

}  // namespace metal

/// A vector's element type and count; scalars have count 0.
template <typename V>
struct sm_shape {
  typedef V element;
  static constexpr int count = 0;
};
template <typename T, int N>
struct sm_shape<metal::vec<T, N>> {
  typedef T element;
  static constexpr int count = N;
};
template <typename T, int N>
struct sm_shape<metal::packed_vec<T, N>> {
  typedef T element;
  static constexpr int count = N;
};
template <typename V>
using sm_element = typename sm_shape<V>::element;
template <typename V>
constexpr int sm_count = sm_shape<V>::count;
template <typename V>
constexpr bool sm_is_scalar = metal::is_arithmetic_v<V> || __is_enum(V);
/// How many components an argument of a constructor brings; 0 for what cannot be one.
template <typename V>
constexpr int sm_components = sm_count<V> > 0 ? sm_count<V> : int(sm_is_scalar<V>);

template <typename T>
struct sm_native_element {
  typedef T type;
};
template <>
struct sm_native_element<bool> {
  typedef uchar type;
};
/// The compiler's own vector. Bools are bytes there.
template <typename T, int N>
using sm_native = typename sm_native_element<T>::type __attribute__((ext_vector_type(N)));
struct sm_raw {};

template <typename... I>
constexpr bool sm_distinct(I... component) {
  unsigned seen = 0;
  return ((seen >> component & 1 ? false : (seen |= 1u << component, true)) && ...);
}

/// Some components of a vector, to be assigned to.
template <typename V, int... I>
struct sm_swizzle {
  typedef metal::vec<sm_element<V>, sizeof...(I)> value_type;
  V &vector;

  SM_INLINE operator value_type() const { return value_type(vector.s[I]...); }
  SM_INLINE const sm_swizzle &operator=(const value_type &value) const {
    const value_type copy = value;  // `value` may be the vector itself
    int from = 0;
    ((vector.s[I] = copy.s[from++]), ...);
    return *this;
  }
  SM_INLINE const sm_swizzle &operator=(const sm_swizzle &other) const { return *this = value_type(other); }
#define SM_ASSIGN(op)                                                  \
  template <typename B>                                                \
  SM_INLINE const sm_swizzle &operator op## = (const B &value) const { \
    return *this = value_type(*this) op value;                         \
  }
  SM_ASSIGN(+)
  SM_ASSIGN(-)
  SM_ASSIGN(*)
  SM_ASSIGN(/)
  SM_ASSIGN(%)
  SM_ASSIGN(&)
  SM_ASSIGN(|)
  SM_ASSIGN(^)
  SM_ASSIGN(<<)
  SM_ASSIGN(>>)
#undef SM_ASSIGN
};

/// Writes components one after another: the constructors that take vectors apart.
template <typename T>
struct sm_filler {
  T *to;
  template <typename A>
  SM_INLINE void add(const A &value) {
    if constexpr (sm_count<A> > 0) {
      for (int i = 0; i < sm_count<A>; ++i) *to++ = sm_convert<T>(value.s[i]);
    } else {
      *to++ = sm_convert<T>(value);
    }
  }
};

namespace metal {

#define SM_COMMA ,
#define SM_SWIZZLES                                                                  \
  template <int... I>                                                                \
  SM_INLINE vec<T, sizeof...(I)> sm_get() const {                                    \
    return vec<T, sizeof...(I)>(s[I]...);                                            \
  }                                                                                  \
  template <int... I>                                                                \
  SM_INLINE auto sm_set() -> sm_swizzle<remove_reference_t<decltype(*this)>, I...> { \
    static_assert(sm_distinct(I...), "a component is assigned to twice");            \
    return {*this};                                                                  \
  }
#define SM_SUBSCRIPT                         \
  template <typename I>                      \
  SM_INLINE T &operator[](I i) {             \
    return s[i];                             \
  }                                          \
  template <typename I>                      \
  SM_INLINE const T &operator[](I i) const { \
    return s[i];                             \
  }

#define SM_VECTOR(N, XYZW, RGBA)                                                                                  \
  template <typename T>                                                                                           \
  struct vec<T, N> {                                                                                              \
    typedef T value_type;                                                                                         \
    typedef typename sm_native_element<T>::type sm_scalar;                                                        \
    union {                                                                                                       \
      sm_native<T, N> n;                                                                                          \
      struct {                                                                                                    \
        T XYZW;                                                                                                   \
      };                                                                                                          \
      struct {                                                                                                    \
        T RGBA;                                                                                                   \
      };                                                                                                          \
      T s[N];                                                                                                     \
    };                                                                                                            \
    vec() = default;                                                                                              \
    SM_INLINE constexpr vec(sm_native<T, N> native, sm_raw) : n(native) {}                                        \
    template <typename S, typename = enable_if_t<sm_is_scalar<S>>>                                                \
    SM_INLINE constexpr vec(S value) : n(sm_native<T, N>(sm_scalar(sm_convert<T>(value)))) {}                     \
    template <typename U>                                                                                         \
    SM_INLINE explicit vec(const vec<U, N> &o) {                                                                  \
      if constexpr (is_integral_v<T> || !is_floating_point_v<U>) {                                                \
        for (int i = 0; i < N; ++i) s[i] = sm_convert<T>(o.s[i]);                                                 \
      } else {                                                                                                    \
        n = __builtin_convertvector(o.n, sm_native<T, N>);                                                        \
      }                                                                                                           \
    }                                                                                                             \
    template <typename... A, typename = enable_if_t<(sizeof...(A) == N) && (sm_is_scalar<A> && ...)>>             \
    SM_INLINE constexpr vec(A... a) : n{sm_scalar(sm_convert<T>(a))...} {}                                        \
    template <typename... A,                                                                                      \
              typename = enable_if_t<(sizeof...(A) > 1) && (sizeof...(A) < N) && (... + sm_components<A>) == N && \
                                     ((sm_components<A> > 0) && ...)>,                                            \
              typename = void>                                                                                    \
    SM_INLINE vec(const A &...a) {                                                                                \
      sm_filler<T> filler{s};                                                                                     \
      (filler.add(a), ...);                                                                                       \
    }                                                                                                             \
    SM_SUBSCRIPT                                                                                                  \
    SM_SWIZZLES                                                                                                   \
  };                                                                                                              \
  template <typename T>                                                                                           \
  struct packed_vec<T, N> {                                                                                       \
    typedef T value_type;                                                                                         \
    union {                                                                                                       \
      T s[N];                                                                                                     \
      struct {                                                                                                    \
        T XYZW;                                                                                                   \
      };                                                                                                          \
      struct {                                                                                                    \
        T RGBA;                                                                                                   \
      };                                                                                                          \
    };                                                                                                            \
    packed_vec() = default;                                                                                       \
    SM_INLINE packed_vec(const vec<T, N> &v) {                                                                    \
      for (int i = 0; i < N; ++i) s[i] = v.s[i];                                                                  \
    }                                                                                                             \
    template <typename S, typename = enable_if_t<sm_is_scalar<S>>>                                                \
    SM_INLINE constexpr packed_vec(S value) : packed_vec(vec<T, N>(value)) {}                                     \
    template <typename A, typename... B, typename = enable_if_t<(sizeof...(B) > 0)>>                              \
    SM_INLINE packed_vec(const A &a, const B &...b) : packed_vec(vec<T, N>(a, b...)) {}                           \
    template <typename U, typename = enable_if_t<!is_same_v<U, T>>>                                               \
    SM_INLINE explicit packed_vec(const vec<U, N> &v) : packed_vec(vec<T, N>(v)) {}                               \
    SM_INLINE operator vec<T, N>() const {                                                                        \
      vec<T, N> v;                                                                                                \
      for (int i = 0; i < N; ++i) v.s[i] = s[i];                                                                  \
      return v;                                                                                                   \
    }                                                                                                             \
    template <typename U, typename = enable_if_t<!is_same_v<U, T>>>                                               \
    SM_INLINE explicit operator vec<U, N>() const {                                                               \
      return vec<U, N>(static_cast<vec<T, N>>(*this));                                                            \
    }                                                                                                             \
    SM_SUBSCRIPT                                                                                                  \
    SM_SWIZZLES                                                                                                   \
  };
SM_VECTOR(2, x SM_COMMA y, r SM_COMMA g)
SM_VECTOR(3, x SM_COMMA y SM_COMMA z, r SM_COMMA g SM_COMMA b)
SM_VECTOR(4, x SM_COMMA y SM_COMMA z SM_COMMA w, r SM_COMMA g SM_COMMA b SM_COMMA a)
#undef SM_VECTOR
#undef SM_SUBSCRIPT
#undef SM_SWIZZLES
#undef SM_COMMA

}  // namespace metal

#define SM_VECTORS(T)            \
  typedef metal::vec<T, 2> T##2; \
  typedef metal::vec<T, 3> T##3; \
  typedef metal::vec<T, 4> T##4;
SM_INTEGERS(SM_VECTORS)
SM_FLOATS(SM_VECTORS)
SM_VECTORS(bool)
#undef SM_VECTORS
#define SM_PACKED(T)                             \
  typedef metal::packed_vec<T, 2> packed_##T##2; \
  typedef metal::packed_vec<T, 3> packed_##T##3; \
  typedef metal::packed_vec<T, 4> packed_##T##4;
SM_INTEGERS(SM_PACKED)
SM_FLOATS(SM_PACKED)
#undef SM_PACKED
using metal::packed_vec;
using metal::vec;

#include "sm_operators.h"
