// Scalar types, type traits, and what the other headers are written with.
#pragma once

typedef __INT8_TYPE__ int8_t;
typedef __UINT8_TYPE__ uint8_t;
typedef __INT16_TYPE__ int16_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __INT32_TYPE__ int32_t;
typedef __UINT32_TYPE__ uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef __INTPTR_TYPE__ intptr_t;
typedef __UINTPTR_TYPE__ uintptr_t;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef _Float16 half;
typedef __bf16 bfloat;

#define SM_INLINE inline __attribute__((always_inline))
#define SM_STATIC static inline __attribute__((always_inline))
/// A kernel's own qualifiers: it is called once, by its entry.
#define SM_KERNEL_FUNCTION static inline __attribute__((always_inline))
/// Does `X` for every scalar type of the kind.
#define SM_FLOATS(X) X(float) X(half) X(bfloat)
#define SM_INTEGERS(X) X(char) X(uchar) X(short) X(ushort) X(int) X(uint) X(long) X(ulong)

namespace metal {

using ::bfloat;
using ::half;
using ::int16_t;
using ::int32_t;
using ::int64_t;
using ::int8_t;
using ::ptrdiff_t;
using ::size_t;
using ::uchar;
using ::uint;
using ::uint16_t;
using ::uint32_t;
using ::uint64_t;
using ::uint8_t;
using ::ulong;
using ::ushort;

template <typename T, T V>
struct integral_constant {
  static constexpr T value = V;
  typedef T value_type;
  typedef integral_constant type;
  SM_INLINE constexpr operator T() const { return V; }
  SM_INLINE constexpr T operator()() const { return V; }
};
template <bool V>
using bool_constant = integral_constant<bool, V>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;

template <bool, typename T = void>
struct enable_if {};
template <typename T>
struct enable_if<true, T> {
  typedef T type;
};
template <bool C, typename T = void>
using enable_if_t = typename enable_if<C, T>::type;
template <bool, typename A, typename B>
struct conditional {
  typedef A type;
};
template <typename A, typename B>
struct conditional<false, A, B> {
  typedef B type;
};
template <bool C, typename A, typename B>
using conditional_t = typename conditional<C, A, B>::type;

template <typename T>
using remove_cv_t = __remove_cv(T);
template <typename T>
struct remove_cv {
  typedef remove_cv_t<T> type;
};
template <typename T>
struct remove_const {
  typedef T type;
};
template <typename T>
struct remove_const<const T> {
  typedef T type;
};
template <typename T>
using remove_const_t = typename remove_const<T>::type;
template <typename T>
using remove_volatile_t = __remove_volatile(T);
template <typename T>
using remove_reference_t = __remove_reference_t(T);
template <typename T>
struct remove_reference {
  typedef remove_reference_t<T> type;
};
template <typename T>
using remove_pointer_t = __remove_pointer(T);
template <typename T>
struct remove_pointer {
  typedef remove_pointer_t<T> type;
};
// There is one address space here.
template <typename T>
using remove_addrspace_t = T;
template <typename T>
struct remove_addrspace {
  typedef T type;
};
template <typename T>
using decay_t = __decay(T);
template <typename T>
struct decay {
  typedef decay_t<T> type;
};
template <typename T>
T &&declval();

template <typename A, typename B>
constexpr bool is_same_v = __is_same(A, B);
template <typename A, typename B>
struct is_same : bool_constant<__is_same(A, B)> {};
template <typename T>
constexpr bool is_integral_v = __is_integral(T);
template <typename T>
constexpr bool is_floating_point_v =
    __is_floating_point(T) || __is_same(remove_cv_t<T>, half) || __is_same(remove_cv_t<T>, bfloat);
template <typename T>
constexpr bool is_arithmetic_v = is_integral_v<T> || is_floating_point_v<T>;
template <typename T, bool = is_arithmetic_v<T>>
constexpr bool is_unsigned_v = false;
template <typename T>
constexpr bool is_unsigned_v<T, true> = T(-1) > T(0);
template <typename T>
constexpr bool is_signed_v = is_arithmetic_v<T> && !is_unsigned_v<T>;
// The compiler would make a bfloat of a float without being told to.
template <typename F, typename T>
constexpr bool is_convertible_v =
    __is_convertible_to(F, T) &&
    !(__is_same(remove_cv_t<T>, bfloat) && is_floating_point_v<F> && !__is_same(remove_cv_t<F>, bfloat));
template <typename T>
constexpr bool is_scalar_v = is_arithmetic_v<T> || __is_enum(T) || __is_pointer(T);

#define SM_TRAIT(name, expression) \
  template <typename T>            \
  struct name : bool_constant<expression> {};
SM_TRAIT(is_integral, is_integral_v<T>)
SM_TRAIT(is_floating_point, is_floating_point_v<T>)
SM_TRAIT(is_arithmetic, is_arithmetic_v<T>)
SM_TRAIT(is_unsigned, is_unsigned_v<T>)
SM_TRAIT(is_signed, is_signed_v<T>)
SM_TRAIT(is_scalar, is_scalar_v<T>)
SM_TRAIT(is_enum, __is_enum(T))
SM_TRAIT(is_class, __is_class(T))
SM_TRAIT(is_union, __is_union(T))
SM_TRAIT(is_pointer, __is_pointer(T))
SM_TRAIT(is_reference, __is_reference(T))
SM_TRAIT(is_array, __is_array(T))
SM_TRAIT(is_void, __is_void(T))
SM_TRAIT(is_const, __is_const(T))
SM_TRAIT(is_trivially_copyable, __is_trivially_copyable(T))
#undef SM_TRAIT
template <typename T>
constexpr bool is_enum_v = __is_enum(T);
template <typename T>
constexpr bool is_class_v = __is_class(T);
template <typename T>
constexpr bool is_pointer_v = __is_pointer(T);
template <typename T>
constexpr bool is_reference_v = __is_reference(T);
template <typename T>
constexpr bool is_array_v = __is_array(T);
template <typename T>
constexpr bool is_void_v = __is_void(T);
template <typename T>
constexpr bool is_const_v = __is_const(T);
template <typename F, typename T>
struct is_convertible : bool_constant<is_convertible_v<F, T>> {};
template <typename B, typename D>
struct is_base_of : bool_constant<__is_base_of(B, D)> {};
template <typename B, typename D>
constexpr bool is_base_of_v = __is_base_of(B, D);
template <typename T, typename... A>
constexpr bool is_constructible_v = __is_constructible(T, A...);
template <typename T, typename... A>
struct is_constructible : bool_constant<__is_constructible(T, A...)> {};

template <typename T>
using make_unsigned_t = __make_unsigned(T);
template <typename T>
struct make_unsigned {
  typedef make_unsigned_t<T> type;
};
template <typename T>
using make_signed_t = __make_signed(T);
template <typename T>
struct make_signed {
  typedef make_signed_t<T> type;
};
template <typename T>
using underlying_type_t = __underlying_type(T);

template <typename... B>
struct conjunction : bool_constant<(B::value && ...)> {};
template <typename... B>
struct disjunction : bool_constant<(B::value || ...)> {};
template <typename B>
struct negation : bool_constant<!B::value> {};
template <typename... B>
constexpr bool conjunction_v = (B::value && ...);
template <typename... B>
constexpr bool disjunction_v = (B::value || ...);
template <typename... B>
using _conjunction = conjunction<B...>;
template <typename... B>
using _disjunction = disjunction<B...>;

}  // namespace metal

template <typename A, typename B>
constexpr bool sm_is_half_and_bfloat = (metal::is_same_v<A, half> && metal::is_same_v<B, bfloat>) ||
                                       (metal::is_same_v<A, bfloat> && metal::is_same_v<B, half>);
/// The type in which an operator combines two scalars; half and bfloat have none.
template <typename A, typename B>
using sm_common = metal::enable_if_t<!sm_is_half_and_bfloat<A, B>,
                                     metal::decay_t<decltype(true ? metal::declval<A>() : metal::declval<B>())>>;

/// The unsigned integer as large as T.
template <typename T>
using sm_bits = metal::conditional_t<
    sizeof(T) == 1, uchar,
    metal::conditional_t<sizeof(T) == 2, ushort, metal::conditional_t<sizeof(T) == 4, uint, ulong>>>;

/// Metal's conversion between scalars: a number that does not fit in an integer becomes the nearest that does, NaN 0.
template <typename To, typename From>
SM_STATIC constexpr To sm_convert(From from) {
  using namespace metal;
  if constexpr (is_same_v<To, bool>) {
    return from != From(0);
  } else if constexpr (is_integral_v<To> && is_floating_point_v<From>) {
    // The least and one more than the greatest are powers of two, so float has them exactly.
    constexpr int digits = int(sizeof(To) * 8) - (is_signed_v<To> ? 1 : 0);
    constexpr float above = float(1ul << (digits - 1)) * 2.0f;
    const float value = float(from);
    constexpr To most = To(~0ul >> (64 - digits)), least = is_signed_v<To> ? To(-most - 1) : To(0);
    // The range is checked on both sides first, so what is converted always fits.
    if (!(value > (is_signed_v<To> ? -above : -1.0f))) return value != value ? To(0) : least;
    return value < above ? To(value) : most;
  } else if constexpr (is_floating_point_v<To> && is_floating_point_v<From> && sizeof(To) == 2 && sizeof(From) == 2 &&
                       !is_same_v<To, From>) {
    return To(float(from));
  } else {
    return static_cast<To>(from);
  }
}

/// static_cast as Metal has it.
template <typename To, typename From>
SM_STATIC constexpr To sm_static_cast(From &&from) {
  using Value = metal::decay_t<From>;
  if constexpr (metal::is_arithmetic_v<metal::remove_cv_t<To>> && metal::is_arithmetic_v<Value>) {
    return sm_convert<metal::remove_cv_t<To>>(static_cast<Value>(from));
  } else {
    return static_cast<To>(static_cast<From &&>(from));
  }
}
