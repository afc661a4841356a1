// Bit casts, conversions and integer functions.
#pragma once

// Functions of vectors call the scalar ones component by component; a scalar among the arguments is repeated.

template <typename F, typename V>
SM_STATIC auto sm_map(F f, const V &x) -> metal::vec<decltype(f(x.s[0])), sm_count<V>> {
  metal::vec<decltype(f(x.s[0])), sm_count<V>> r;
  for (int i = 0; i < sm_count<V>; ++i) r.s[i] = f(x.s[i]);
  return r;
}
template <typename F, typename V>
SM_STATIC auto sm_map(F f, const V &x, const V &y) -> metal::vec<decltype(f(x.s[0], y.s[0])), sm_count<V>> {
  metal::vec<decltype(f(x.s[0], y.s[0])), sm_count<V>> r;
  for (int i = 0; i < sm_count<V>; ++i) r.s[i] = f(x.s[i], y.s[i]);
  return r;
}
template <typename F, typename V>
SM_STATIC auto sm_map(F f, const V &x, const V &y, const V &z)
    -> metal::vec<decltype(f(x.s[0], y.s[0], z.s[0])), sm_count<V>> {
  metal::vec<decltype(f(x.s[0], y.s[0], z.s[0])), sm_count<V>> r;
  for (int i = 0; i < sm_count<V>; ++i) r.s[i] = f(x.s[i], y.s[i], z.s[i]);
  return r;
}
template <typename A, typename B, typename C>
using sm_vector_of_3 = metal::enable_if_t<
    (sm_count<A> > 0) || (sm_count<B> > 0) || (sm_count<C> > 0),
    metal::conditional_t<(sm_count<A> > 0), metal::vec<sm_element<A>, sm_count<A>>,
                         metal::conditional_t<(sm_count<B> > 0), metal::vec<sm_element<B>, sm_count<B>>,
                                              metal::vec<sm_element<C>, sm_count<C>>>>>;

/// No further arguments. A template that could take some is less special than one of a shader with the same name and
/// parameters, which is then the one that is called, as it is where Metal has no such template.
template <typename... Less>
using sm_least = metal::enable_if_t<sizeof...(Less) == 0>;

/// Functions of one, two and three vectors, made of those of scalars.
#define SM_LIFT1(f)                                                                                      \
  template <typename A, typename... Less, typename V = sm_vector_of<A, A>, typename = sm_least<Less...>> \
  SM_STATIC auto f(const A &a, Less...) {                                                                \
    return sm_map([](auto x) { return f(x); }, V(a));                                                    \
  }
#define SM_LIFT2(f)                                                                                                  \
  template <typename A, typename B, typename... Less, typename V = sm_vector_of<A, B>, typename = sm_least<Less...>> \
  SM_STATIC auto f(const A &a, const B &b, Less...) {                                                                \
    return sm_map([](auto x, auto y) { return f(x, y); }, V(a), V(b));                                               \
  }
#define SM_LIFT3(f)                                                                                     \
  template <typename A, typename B, typename C, typename... Less, typename V = sm_vector_of_3<A, B, C>, \
            typename = sm_least<Less...>>                                                               \
  SM_STATIC auto f(const A &a, const B &b, const C &c, Less...) {                                       \
    return sm_map([](auto x, auto y, auto z) { return f(x, y, z); }, V(a), V(b), V(c));                 \
  }
/// Templates over scalars of a kind, in the type the arguments combine in.
#define SM_SCALARS1(kind) \
  template <typename T, typename... Less, typename = enable_if_t<is_##kind##_v<T>, sm_least<Less...>>>
#define SM_SCALARS2(kind)                                                           \
  template <typename A, typename B, typename... Less, typename T = sm_common<A, B>, \
            typename = enable_if_t<is_##kind##_v<A> && is_##kind##_v<B>, sm_least<Less...>>>
#define SM_SCALARS3(kind)                                                                                     \
  template <typename A, typename B, typename C, typename... Less, typename T = sm_common<sm_common<A, B>, C>, \
            typename = enable_if_t<is_##kind##_v<A> && is_##kind##_v<B> && is_##kind##_v<C>, sm_least<Less...>>>

namespace metal {

/// The same bits as another type. A three-component vector has the size of one with four.
template <typename D, typename S>
SM_STATIC constexpr D as_type(S source) {
  static_assert(sizeof(D) == sizeof(S), "as_type: the types differ in size");
  return __builtin_bit_cast(D, source);
}

SM_SCALARS1(integral) SM_STATIC T clz(T x, Less...) {
  constexpr int bits = sizeof(T) * 8;
  return x ? T(__builtin_clzl(ulong(sm_bits<T>(x))) - (64 - bits)) : T(bits);
}
SM_SCALARS1(integral) SM_STATIC T ctz(T x, Less...) { return x ? T(__builtin_ctzl(ulong(x))) : T(sizeof(T) * 8); }
SM_SCALARS1(integral) SM_STATIC T popcount(T x, Less...) { return T(__builtin_popcountl(ulong(sm_bits<T>(x)))); }
SM_SCALARS1(integral) SM_STATIC T reverse_bits(T x, Less...) {
  return T(__builtin_bitreverse64(ulong(sm_bits<T>(x))) >> (64 - sizeof(T) * 8));
}
SM_SCALARS2(integral) SM_STATIC make_unsigned_t<T> absdiff(A a, B b, Less...) {
  typedef make_unsigned_t<T> U;
  return T(a) > T(b) ? U(U(a) - U(b)) : U(U(b) - U(a));
}
SM_SCALARS2(integral) SM_STATIC A addsat(A a, B b, Less...) { return A(__builtin_elementwise_add_sat(a, A(b))); }
SM_SCALARS2(integral) SM_STATIC A subsat(A a, B b, Less...) { return A(__builtin_elementwise_sub_sat(a, A(b))); }
SM_SCALARS2(integral) SM_STATIC A hadd(A a, B b, Less...) { return A((a & A(b)) + ((a ^ A(b)) >> 1)); }
SM_SCALARS2(integral) SM_STATIC A rhadd(A a, B b, Less...) { return A((a | A(b)) - ((a ^ A(b)) >> 1)); }
SM_SCALARS2(integral) SM_STATIC A rotate(A a, B b, Less...) {
  constexpr uint bits = sizeof(A) * 8;
  const uint n = uint(b) & (bits - 1);
  const sm_bits<A> u = sm_bits<A>(a);
  return A(n == 0 ? u : sm_bits<A>(u << n | u >> (bits - n)));
}
SM_SCALARS2(integral) SM_STATIC T mulhi(A a, B b, Less...) {
  if constexpr (sizeof(T) < 8) {
    return T((long(T(a)) * long(T(b))) >> (sizeof(T) * 8));
  } else if constexpr (is_signed_v<T>) {
    return T((__int128(a) * __int128(b)) >> 64);
  } else {
    return T(((unsigned __int128)(a) * (unsigned __int128)(b)) >> 64);
  }
}
SM_SCALARS3(integral) SM_STATIC T madhi(A a, B b, C c, Less...) { return T(mulhi(T(a), T(b)) + T(c)); }
SM_SCALARS3(integral) SM_STATIC T madsat(A a, B b, C c, Less...) {
  typedef conditional_t<is_signed_v<T>, __int128, unsigned __int128> Wide;
  constexpr T most = numeric_limits<T>::max(), least = numeric_limits<T>::min();
  const Wide product = Wide(T(a)) * Wide(T(b));
  // Saturates before the sum where the product is all that fits.
  if constexpr (!is_signed_v<T>) {
    if (product > Wide(most)) return most;
  }
  const Wide sum = product + Wide(T(c));
  return sum > Wide(most) ? most : (is_signed_v<T> && sum < Wide(least)) ? least : T(sum);
}
// Factors of 24 bits: int24 is what remains of the low ones.
template <typename T>
SM_STATIC T sm_low24(T x) {
  return T(T(sm_bits<T>(x) << 8) >> 8);
}
SM_SCALARS2(integral) SM_STATIC T mul24(A a, B b, Less...) {
  return T(sm_bits<T>(sm_low24(T(a))) * sm_bits<T>(sm_low24(T(b))));
}
SM_SCALARS3(integral) SM_STATIC T mad24(A a, B b, C c, Less...) {
  return T(sm_bits<T>(mul24(T(a), T(b))) + sm_bits<T>(c));
}
/// Bits offset ..< offset + count of x, sign-extended if x is signed.
template <typename T, typename = enable_if_t<is_integral_v<T>>>
SM_STATIC T extract_bits(T x, uint offset, uint count) {
  constexpr uint bits = sizeof(T) * 8;
  if (count == 0 || offset >= bits) return T(0);
  count = count < bits - offset ? count : bits - offset;
  return T(T(sm_bits<T>(x) << (bits - offset - count)) >> (bits - count));
}
template <typename T, typename = enable_if_t<is_integral_v<T>>>
SM_STATIC T insert_bits(T base, T insert, uint offset, uint count) {
  constexpr uint bits = sizeof(T) * 8;
  if (count == 0 || offset >= bits) return base;
  count = count < bits - offset ? count : bits - offset;
  const sm_bits<T> mask = sm_bits<T>(sm_bits<T>(sm_bits<T>(~sm_bits<T>(0)) >> (bits - count)) << offset);
  return T((sm_bits<T>(base) & ~mask) | (sm_bits<T>(sm_bits<T>(insert) << offset) & mask));
}
template <typename T, int N>
SM_STATIC vec<T, N> extract_bits(const vec<T, N> &x, uint offset, uint count) {
  return sm_map([=](T e) { return extract_bits(e, offset, count); }, x);
}
template <typename T, int N>
SM_STATIC vec<T, N> insert_bits(const vec<T, N> &base, const vec<T, N> &insert, uint offset, uint count) {
  return sm_map([=](T b, T i) { return insert_bits(b, i, offset, count); }, base, insert);
}

SM_LIFT1(clz)
SM_LIFT1(ctz)
SM_LIFT1(popcount)
SM_LIFT1(reverse_bits)
SM_LIFT2(absdiff)
SM_LIFT2(addsat)
SM_LIFT2(subsat)
SM_LIFT2(hadd)
SM_LIFT2(rhadd)
SM_LIFT2(rotate)
SM_LIFT2(mulhi)
SM_LIFT2(mul24)
SM_LIFT3(madhi)
SM_LIFT3(madsat)
SM_LIFT3(mad24)

}  // namespace metal

using metal::as_type;
