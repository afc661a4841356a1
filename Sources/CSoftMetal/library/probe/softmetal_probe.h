// Metal for the probe of address spaces: a translation that keeps them, read as C++ for OpenCL and never run.
//
// Only declarations, and no more of them than it takes to give expressions a type. What is missing or differs from Metal
// makes an error that nobody sees (SpaceProbe), and leaves something unchecked. What takes a pointer must be there for
// every space that Metal has it for.
#ifndef SOFTMETAL_PROBE
#define SOFTMETAL_PROBE
#define device __global
#define threadgroup __local
#define thread __private
#define constant __constant
#define SM_KERNEL_FUNCTION
// Names that are free in Metal.
#define global sm_name_global
#define local sm_name_local
#define generic sm_name_generic
#define pipe sm_name_pipe
#define volatile
// The type of that name here cannot be loaded or stored.
#define half _Float16
#pragma OPENCL EXTENSION __cl_clang_function_pointers : enable
#pragma OPENCL EXTENSION __cl_clang_variadic_functions : enable

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef unsigned long size_t;
typedef long ptrdiff_t;
typedef unsigned long uintptr_t;
typedef long intptr_t;
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
typedef __bf16 bfloat;

namespace metal {

// MARK: Types, which need no namespace
inline namespace sm_types {

template <typename T, int N>
using vec = T __attribute__((ext_vector_type(N)));

template <typename T, int N>
struct sm_packed {
  T x, y, z, w, r, g, b, a;
  template <typename... A>
  sm_packed(A...);
  operator vec<T, N>() const;
  operator vec<T, N>() const __constant;
};
template <typename T, int N>
using packed_vec = sm_packed<T, N>;

template <typename T, int C, int R>
struct matrix {
  vec<T, R> columns[C];
  template <typename... A>
  matrix(A...);
};

#define SM_VECTORS(name, T)                 \
  typedef vec<T, 2> name##2;                \
  typedef vec<T, 3> name##3;                \
  typedef vec<T, 4> name##4;                \
  typedef sm_packed<T, 2> packed_##name##2; \
  typedef sm_packed<T, 3> packed_##name##3; \
  typedef sm_packed<T, 4> packed_##name##4;
SM_VECTORS(char, char)
SM_VECTORS(uchar, uchar)
SM_VECTORS(short, short)
SM_VECTORS(ushort, ushort)
SM_VECTORS(int, int)
SM_VECTORS(uint, uint)
SM_VECTORS(long, long)
SM_VECTORS(ulong, ulong)
SM_VECTORS(half, half)
SM_VECTORS(bfloat, bfloat)
SM_VECTORS(float, float)
#undef SM_VECTORS
// A vector of bool is not to be had.
typedef vec<char, 2> bool2;
typedef vec<char, 3> bool3;
typedef vec<char, 4> bool4;

#define SM_MATRICES(T, C)           \
  typedef matrix<T, C, 2> T##C##x2; \
  typedef matrix<T, C, 3> T##C##x3; \
  typedef matrix<T, C, 4> T##C##x4;
SM_MATRICES(float, 2)
SM_MATRICES(float, 3)
SM_MATRICES(float, 4)
#undef SM_MATRICES

template <typename T>
struct atomic {
  T sm_value;
};
template <typename T>
using _atomic = atomic<T>;
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<ulong> atomic_ulong;
typedef atomic<float> atomic_float;

template <typename T, int C, int R>
struct simdgroup_matrix {
  simdgroup_matrix();
  simdgroup_matrix(T);
  __private vec<T, 2> &thread_elements() const;
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;

enum class mem_flags { mem_none, mem_device, mem_threadgroup, mem_texture, mem_threadgroup_imageblock };
constexpr mem_flags operator|(mem_flags a, mem_flags) { return a; }
enum memory_order {
  memory_order_relaxed,
  memory_order_acquire,
  memory_order_release,
  memory_order_acq_rel,
  memory_order_seq_cst
};
enum thread_scope { thread_scope_thread, thread_scope_simdgroup, thread_scope_threadgroup, thread_scope_device };

template <typename To, typename From>
To as_type(From);
}  // namespace sm_types

// MARK: Traits
template <typename T, T v>
struct integral_constant {
  typedef T value_type;
  static constexpr __constant T value = v;
  constexpr operator T() const { return v; }
};
template <bool b>
using bool_constant = integral_constant<bool, b>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;
template <typename A, typename B>
struct is_same : bool_constant<__is_same(A, B)> {};
template <typename A, typename B>
constexpr __constant bool is_same_v = __is_same(A, B);
template <typename A, typename B>
constexpr __constant bool is_convertible_v = __is_convertible_to(A, B);
template <bool b, typename T = void>
struct enable_if {};
template <typename T>
struct enable_if<true, T> {
  typedef T type;
};
template <bool b, typename T = void>
using enable_if_t = typename enable_if<b, T>::type;
template <bool b, typename A, typename B>
struct conditional {
  typedef A type;
};
template <typename A, typename B>
struct conditional<false, A, B> {
  typedef B type;
};
template <bool b, typename A, typename B>
using conditional_t = typename conditional<b, A, B>::type;
template <typename T>
struct numeric_limits {
  static constexpr T min() { return T(); }
  static constexpr T max() { return T(); }
  static constexpr T lowest() { return T(); }
  static constexpr T infinity() { return T(); }
  static constexpr T quiet_NaN() { return T(); }
};

// MARK: Functions of values: each gives the type of its first argument
#define SM_LIKE(name)                  \
  template <typename T, typename... A> \
  T name(T, A...);
#define SM_MATH(name) \
  SM_LIKE(name)       \
  namespace fast {    \
  SM_LIKE(name)       \
  }                   \
  namespace precise { \
  SM_LIKE(name)       \
  }
// clang-format off: lists
SM_MATH(abs) SM_MATH(acos) SM_MATH(acosh) SM_MATH(asin) SM_MATH(asinh) SM_MATH(atan) SM_MATH(atan2) SM_MATH(atanh)
SM_MATH(ceil) SM_MATH(clamp) SM_MATH(copysign) SM_MATH(cos) SM_MATH(cosh) SM_MATH(cospi) SM_MATH(divide)
SM_MATH(exp) SM_MATH(exp10) SM_MATH(exp2) SM_MATH(fabs) SM_MATH(fdim) SM_MATH(floor) SM_MATH(fma) SM_MATH(fmax)
SM_MATH(fmin) SM_MATH(fmod) SM_MATH(fract) SM_MATH(ldexp) SM_MATH(log) SM_MATH(log10) SM_MATH(log2) SM_MATH(max)
SM_MATH(max3) SM_MATH(median3) SM_MATH(min) SM_MATH(min3) SM_MATH(mix) SM_MATH(pow) SM_MATH(powr) SM_MATH(rint)
SM_MATH(round) SM_MATH(rsqrt) SM_MATH(saturate) SM_MATH(sign) SM_MATH(sin) SM_MATH(sinh) SM_MATH(sinpi)
SM_MATH(smoothstep) SM_MATH(sqrt) SM_MATH(step) SM_MATH(tan) SM_MATH(tanh) SM_MATH(tanpi) SM_MATH(trunc)
SM_LIKE(absdiff) SM_LIKE(addsat) SM_LIKE(clz) SM_LIKE(cross) SM_LIKE(ctz) SM_LIKE(extract_bits) SM_LIKE(hadd)
SM_LIKE(insert_bits) SM_LIKE(mad24) SM_LIKE(madhi) SM_LIKE(mul24) SM_LIKE(mulhi) SM_LIKE(normalize)
SM_LIKE(popcount) SM_LIKE(reverse_bits) SM_LIKE(rhadd) SM_LIKE(rotate) SM_LIKE(select) SM_LIKE(subsat)
#undef SM_MATH

#define SM_GROUP(group)                                                                                               \
  SM_LIKE(group##_broadcast) SM_LIKE(group##_broadcast_first) SM_LIKE(group##_shuffle) SM_LIKE(group##_shuffle_xor)   \
  SM_LIKE(group##_shuffle_up) SM_LIKE(group##_shuffle_down) SM_LIKE(group##_shuffle_rotate_up)                        \
  SM_LIKE(group##_shuffle_rotate_down) SM_LIKE(group##_shuffle_and_fill_up) SM_LIKE(group##_shuffle_and_fill_down)    \
  SM_LIKE(group##_sum) SM_LIKE(group##_product) SM_LIKE(group##_min) SM_LIKE(group##_max) SM_LIKE(group##_and)        \
  SM_LIKE(group##_or) SM_LIKE(group##_xor) SM_LIKE(group##_prefix_inclusive_sum)                                      \
  SM_LIKE(group##_prefix_exclusive_sum) SM_LIKE(group##_prefix_inclusive_product)                                     \
  SM_LIKE(group##_prefix_exclusive_product)                                                                           \
  bool group##_all(bool); bool group##_any(bool); bool group##_is_first();
SM_GROUP(simd)
SM_GROUP(quad)
// clang-format on
#undef SM_GROUP
#undef SM_LIKE

                                                template <typename T>
                                                bool isnan(T);
template <typename T>
bool isinf(T);
template <typename T>
bool isfinite(T);
template <typename T>
bool all(T);
template <typename T>
bool any(T);
template <typename T, int N>
T dot(vec<T, N>, vec<T, N>);
template <typename T, int N>
T length(vec<T, N>);
template <typename T, int N>
T distance(vec<T, N>, vec<T, N>);
template <typename T>
T frexp(T, __private int &);
template <typename T>
T modf(T, __private T &);
template <typename T>
T sincos(T, __private T &);

void threadgroup_barrier(mem_flags);
void simdgroup_barrier(mem_flags);
template <typename... A>
void atomic_thread_fence(A...);

// MARK: Functions of memory
#define SM_FETCH(operation, space)  \
  template <typename T, typename V> \
  T atomic_fetch_##operation##_explicit(space atomic<T> *, V, memory_order);
#define SM_SPACE(space)                                                                                        \
  template <typename T>                                                                                        \
  T atomic_load_explicit(const space atomic<T> *, memory_order);                                               \
  template <typename T, typename V>                                                                            \
  void atomic_store_explicit(space atomic<T> *, V, memory_order);                                              \
  template <typename T, typename V>                                                                            \
  T atomic_exchange_explicit(space atomic<T> *, V, memory_order);                                              \
  template <typename T, typename V>                                                                            \
  bool atomic_compare_exchange_weak_explicit(space atomic<T> *, __private T *, V, memory_order, memory_order); \
  SM_FETCH(add, space)                                                                                         \
  SM_FETCH(sub, space)                                                                                         \
  SM_FETCH(and, space)                                                                                         \
  SM_FETCH(or, space)                                                                                          \
  SM_FETCH(xor, space)                                                                                         \
  SM_FETCH(min, space)                                                                                         \
  SM_FETCH(max, space)                                                                                         \
  template <typename T, int C, int R, typename... A>                                                           \
  void simdgroup_load(__private simdgroup_matrix<T, C, R> &, const space T *, A...);                           \
  template <typename T, int C, int R, typename... A>                                                           \
  void simdgroup_store(simdgroup_matrix<T, C, R>, space T *, A...);
SM_SPACE(__global)
SM_SPACE(__local)
#undef SM_SPACE
#undef SM_FETCH

template <typename T, int C, int R>
simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T);
template <typename D, typename A, typename B>
void simdgroup_multiply(__private D &, A, B);
template <typename D, typename A, typename B, typename C>
void simdgroup_multiply_accumulate(__private D &, A, B, C);

}  // namespace metal
using namespace metal::sm_types;

// What a translation puts in the place of a threadgroup variable.
template <typename T, int number>
__local T &sm_threadgroup();
#endif
