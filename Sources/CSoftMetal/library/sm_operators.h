// Operators of vectors, packed ones included: component by component, scalars repeated.
#pragma once

/// What operands combine in: the vector among them, or `none` if they are of different kinds.
struct sm_none {};
template <typename A, typename B, bool = (sm_count<A> > 0), bool = (sm_count<B> > 0)>
struct sm_combined {
  typedef sm_none type;
};
template <typename A, typename B>
struct sm_combined<A, B, true, true> {
  typedef metal::conditional_t<metal::is_same_v<sm_element<A>, sm_element<B>> && sm_count<A> == sm_count<B>,
                               metal::vec<sm_element<A>, sm_count<A>>, sm_none>
      type;
};
template <typename A, typename S>
struct sm_combined<A, S, true, false> {
  typedef metal::conditional_t<sm_is_scalar<S> && !sm_is_half_and_bfloat<sm_element<A>, S>,
                               metal::vec<sm_element<A>, sm_count<A>>, sm_none>
      type;
};
template <typename S, typename B>
struct sm_combined<S, B, false, true> : sm_combined<B, S, true, false> {};
template <typename A, typename B>
using sm_vector_of =
    metal::enable_if_t<!metal::is_same_v<typename sm_combined<A, B>::type, sm_none>, typename sm_combined<A, B>::type>;

/// One bit of each lane of a native comparison, as bools.
template <int N, typename M>
SM_STATIC metal::vec<bool, N> sm_mask(M mask) {
  return metal::vec<bool, N>(__builtin_convertvector(mask, sm_native<bool, N>) & sm_native<bool, N>(1), sm_raw{});
}

namespace metal {

#define SM_BINARY(op, expression)                                                                               \
  template <typename A, typename B, typename V = sm_vector_of<A, B>>                                            \
  SM_STATIC V operator op(const A &a, const B &b) {                                                             \
    const V x(a), y(b);                                                                                         \
    return V(expression, sm_raw{});                                                                             \
  }                                                                                                             \
  template <typename A, typename B, typename V = sm_vector_of<A, B>, typename = enable_if_t<(sm_count<A> > 0)>> \
  SM_STATIC A &operator op## = (A & a, const B &b) {                                                            \
    return a = static_cast<const A &>(a) op b;                                                                  \
  }
// A count of bits to shift by is taken modulo the element's size.
#define SM_SHIFT_BITS (sm_native<sm_element<V>, sm_count<V>>(sm_element<V>(sizeof(sm_element<V>) * 8 - 1)))
SM_BINARY(+, x.n + y.n)
SM_BINARY(-, x.n - y.n)
SM_BINARY(*, x.n *y.n)
SM_BINARY(/, x.n / y.n)
SM_BINARY(%, x.n % y.n)
SM_BINARY(&, x.n & y.n)
SM_BINARY(|, x.n | y.n)
SM_BINARY(^, x.n ^ y.n)
SM_BINARY(<<, x.n << (y.n & SM_SHIFT_BITS))
SM_BINARY(>>, x.n >> (y.n & SM_SHIFT_BITS))
#undef SM_BINARY
#undef SM_SHIFT_BITS

#define SM_COMPARE(op)                                                   \
  template <typename A, typename B, typename V = sm_vector_of<A, B>>     \
  SM_STATIC vec<bool, sm_count<V>> operator op(const A &a, const B &b) { \
    const V x(a), y(b);                                                  \
    return sm_mask<sm_count<V>>(x.n op y.n);                             \
  }
SM_COMPARE(<)
SM_COMPARE(>)
SM_COMPARE(<=)
SM_COMPARE(>=)
SM_COMPARE(==)
SM_COMPARE(!=)
#undef SM_COMPARE

#define SM_LOGICAL(op, bits)                                             \
  template <typename A, typename B, typename V = sm_vector_of<A, B>>     \
  SM_STATIC vec<bool, sm_count<V>> operator op(const A &a, const B &b) { \
    const vec<bool, sm_count<V>> x((V(a))), y((V(b)));                   \
    return vec<bool, sm_count<V>>(x.n bits y.n, sm_raw{});               \
  }
SM_LOGICAL(&&, &)
SM_LOGICAL(||, |)
#undef SM_LOGICAL

template <typename A, typename V = sm_vector_of<A, A>>
SM_STATIC V operator-(const A &a) {
  return V(-V(a).n, sm_raw{});
}
template <typename A, typename V = sm_vector_of<A, A>>
SM_STATIC V operator+(const A &a) {
  return V(a);
}
template <typename A, typename V = sm_vector_of<A, A>>
SM_STATIC V operator~(const A &a) {
  return V(~V(a).n, sm_raw{});
}
template <typename A, typename V = sm_vector_of<A, A>>
SM_STATIC vec<bool, sm_count<V>> operator!(const A &a) {
  return sm_mask<sm_count<V>>(V(a).n == V(0).n);
}
template <typename A, typename V = sm_vector_of<A, A>>
SM_STATIC A &operator++(A &a) {
  return a = a + sm_element<A>(1);
}
template <typename A, typename V = sm_vector_of<A, A>>
SM_STATIC A &operator--(A &a) {
  return a = a - sm_element<A>(1);
}
template <typename A, typename V = sm_vector_of<A, A>>
SM_STATIC A operator++(A &a, int) {
  const A old = a;
  ++a;
  return old;
}
template <typename A, typename V = sm_vector_of<A, A>>
SM_STATIC A operator--(A &a, int) {
  const A old = a;
  --a;
  return old;
}

}  // namespace metal
