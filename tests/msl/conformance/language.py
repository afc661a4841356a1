"""Functions, references, structs, templates, lambdas, address spaces, the preprocessor."""

# ruff: noqa: ARG001 -- what is expected is told every input, needed or not

from __future__ import annotations

import numpy as np

from tests.msl.program import Area

area = Area(
    "language",
    r"""
// ---- functions
float twice(float x) { return 2 * x; }
int twice(int x) { return 2 * x + 1; }
half2 twice(half2 x) { return x + x; }
float power(float x, int n = 2) { float p = 1; while (n-- > 0) p *= x; return p; }
void swap_values(thread float &a, thread float &b) { float t = a; a = b; b = t; }
static inline void add_to(thread int *p, int v) { *p += v; }
constexpr int square(int x) { return x * x; }
float sum_of(device const float *p, uint n) { float s = 0; for (uint k = 0; k < n; k++) s += p[k]; return s; }
float sum_of(constant float *p, uint n) { float s = 0; for (uint k = 0; k < n; k++) s += p[k]; return s; }
float sum_of(threadgroup const float *p, uint n) { float s = 0; for (uint k = 0; k < n; k++) s += p[k]; return s; }
float sum_of(thread const float *p, uint n) { float s = 0; for (uint k = 0; k < n; k++) s += p[k]; return s; }

// ---- structs
struct counter {
  int total;
  counter() : total(0) {}
  counter(int start) : total(start) {}
  thread counter &add(int x) { total += x; return *this; }
  int get() const { return total; }
  static int twice_of(int x) { return x + x; }
};
struct complex {
  float re, im;
  complex operator*(complex o) const { return {re * o.re - im * o.im, re * o.im + im * o.re}; }
  thread complex &operator+=(complex o) thread { re += o.re; im += o.im; return *this; }
  float operator[](int k) const { return k ? im : re; }
  bool operator==(complex o) const { return re == o.re && im == o.im; }
};
complex operator+(complex a, complex b) { return {a.re + b.re, a.im + b.im}; }
struct base { int a; int sum() const { return a; } };
struct derived : base { int b; int sum() const { return base::sum() + 10 * b; } };
struct anywhere { int value; int get() const device { return value; } int get() const constant { return value; }
                  int get() const thread { return value; } };

// ---- templates
template <typename T> T largest(T a, T b) { return a < b ? b : a; }
template <typename T, int N> T total(thread const T (&a)[N]) {
  T s = 0;
  for (int k = 0; k < N; k++) s += a[k];
  return s;
}
template <typename T> struct accumulator { using type = T; };
template <> struct accumulator<half> { using type = float; };
template <> struct accumulator<uchar> { typedef uint type; };
template <int N> struct fibonacci {
  static constant constexpr int value = fibonacci<N - 1>::value + fibonacci<N - 2>::value;
};
template <> struct fibonacci<0> { static constant constexpr int value = 0; };
template <> struct fibonacci<1> { static constant constexpr int value = 1; };
template <typename... T> int count_of(T... all) { return sizeof...(all); }
template <typename T> T sum_all(T x) { return x; }
template <typename T, typename... R> T sum_all(T x, R... rest) { return x + sum_all(rest...); }
template <typename T, enable_if_t<is_floating_point<T>::value, bool> = true> int kind(T) { return 1; }
template <typename T, enable_if_t<is_integral<T>::value, bool> = true> int kind(T) { return 2; }
template <typename F> float apply(F f, float x) { return f(x); }
struct tripler { float operator()(float x) const { return 3 * x; } };
template <typename T> constexpr constant T pi_of = T(3.14159265f);
template <typename T, bool negate> struct pick { T v; T get() const { if (negate) return -v; return v; } };
template <typename T> using pair_of = vec<T, 2>;

struct first_of { int operator()(int x, int y) thread; };
struct second_of {
  int operator()(int x, int y) thread;
  template <typename T> struct part { T get(T x) const thread; };
};
int first_of::operator()(int x, int y) thread { return x; }
int second_of::operator()(int x, int y) thread { return y; }
template <typename T> T second_of::part<T>::get(T x) const thread { return x * 3; }

namespace outer {
namespace inner { constant int depth = 2; int f() { return 42; } }
int g() { return inner::f() + 1; }
}
namespace short_name = outer::inner;
#define CONCAT_(a, b) a##b
#define CONCAT(a, b) CONCAT_(a, b)
#define TEXT(...) __VA_ARGS__
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))
#if defined(NOT_DEFINED) || 0
#error "not this one"
#elif __METAL_VERSION__ >= 300 && defined(__METAL__)
#define CHOSEN 5
#else
#define CHOSEN 6
#endif
""",
)
X = np.float32([1, 2, -3, 0.5])
N = np.int32([1, -2, 3, 40])


@area.each("float4", "half2 h = twice(half2(x)); r = float4(twice(x), twice(n), h.x, twice(float(n)));", x=X, n=N)
def overloads(x, n):
    return np.stack([2 * x, 2 * n + 1, 2 * x, 2 * n], 1).astype(np.float32)


@area.each("float2", "r = float2(power(x), power(x, 3));", x=X)
def default_arguments(x):
    return np.stack([x * x, x * x * x], 1)


@area.each(
    "float4",
    "float a = x, b = n; swap_values(a, b); int c = n; add_to(&c, 5); add_to(&c, c); r = float4(a, b, c, 0); "
    "swap_values(b, a); r.w = a;",
    x=X,
    n=N,
)
def references_and_pointers(x, n):
    return np.stack([n, x, 2 * (n + 5), x], 1).astype(np.float32)


@area.each(
    "int2",
    "int table[square(3)]; for (int k = 0; k < square(3); k++) table[k] = k * n; thread int *p = table + 2; "
    "thread int *q = &table[7]; r = int2(p[1] + *(q - 1), q - p);",
    n=N,
)
def pointer_arithmetic(n):
    return np.stack([3 * n + 6 * n, 0 * n + 5], 1)


@area.each(
    "int4",
    "counter c; c.add(n).add(2); counter d(5), e = 7; "
    "r = int4(c.get(), d.add(n).get(), counter::twice_of(n), e.total);",
    n=N,
)
def struct_methods(n):
    return np.stack([n + 2, n + 5, 2 * n, 0 * n + 7], 1)


@area.each(
    "float4",
    "complex a{x, 1}, b = {2, float(n)}; complex p = a * b + a; p += b; r = float4(p[0], p[1], a == a, a == b);",
    x=X,
    n=N,
)
def operators_of_structs(x, n):
    n = n.astype(np.float32)
    return np.stack([2 * x - n + x + 2, x * n + 2 + 1 + n, np.ones(4), np.zeros(4)], 1).astype(np.float32)


@area.each("int2", "derived d; d.a = n; d.b = 3; thread base &b = d; r = int2(d.sum(), b.sum());", n=N)
def inheritance(n):
    return np.stack([n + 30, n], 1)


@area.kernel(
    """
kernel void methods_by_address_space(device int *out [[buffer(0)]], device const anywhere *d [[buffer(1)]],
                                     constant anywhere &c [[buffer(2)]]) {
  anywhere t = {3};
  out[0] = d->get();
  out[1] = c.get();
  out[2] = t.get();
}""",
    ("int", 3),
    inputs={"d": np.int32([1]), "c": np.int32([2])},
    threads=1,
)
def methods_by_address_space(d, c):
    return np.int32([1, 2, 3])


@area.kernel(
    """
kernel void overloads_by_address_space(device float *out [[buffer(0)]], device const float *d [[buffer(1)]],
                                       constant float *c [[buffer(2)]]) {
  threadgroup float g[2];
  g[0] = 5;
  g[1] = 6;
  float t[] = {7, 8};
  out[0] = sum_of(d, 2);
  out[1] = sum_of(c, 2);
  out[2] = sum_of(g, 2);
  out[3] = sum_of(t, 2);
  out[4] = sum_of(d + 1, 1);
}""",
    ("float", 5),
    inputs={"d": np.float32([1, 2]), "c": np.float32([3, 4])},
    threads=1,
)
def overloads_by_address_space(d, c):
    return np.float32([3, 7, 11, 15, 2])


@area.each(
    "float4",
    "float a[3] = {x, 2, 3}; r = float4(largest(x, 0.75f), largest<int>(n, 7.9f), total(a), largest(half(x), 1.0h));",
    x=X,
    n=N,
)
def function_templates(x, n):
    return np.stack([np.maximum(x, 0.75), np.maximum(n, 7), x + 5, np.maximum(x, 1)], 1).astype(np.float32)


@area.each(
    "int4",
    "r = int4(sizeof(accumulator<half>::type), sizeof(typename accumulator<short>::type), "
    "sizeof(accumulator<uchar>::type), fibonacci<10>::value);",
    n=N,
)
def template_specialisations(n):
    return np.tile(np.int32([4, 2, 4, 55]), (len(n), 1))


@area.each("int4", "r = int4(count_of(), count_of(1, 2.0f, x), sum_all(n, 2, 3, 4), int(sum_all(x)));", x=X, n=N)
def variadic_templates(x, n):
    return np.stack([0 * n, 0 * n + 3, n + 9, np.trunc(x)], 1).astype(np.int32)


@area.each("int4", "r = int4(kind(x), kind(n), kind(half(1)), kind(uchar(1)));", x=X, n=N)
def substitution_failure(x, n):
    return np.tile(np.int32([1, 2, 1, 2]), (len(x), 1))


@area.each(
    "float4",
    "tripler t; pick<float, true> p = {x}; pick<int, false> q = {n}; "
    "r = float4(apply(t, x), p.get(), q.get(), pi_of<float> + pi_of<int>);",
    x=X,
    n=N,
)
def function_objects(x, n):
    return np.stack([3 * x, -x, n, 0 * x + np.float32(np.float32(3.14159265) + 3)], 1).astype(np.float32)


@area.each(
    "float4",
    "auto f = [](float v) { return v * v; }; int calls = 0; auto g = [&](int v) { calls += v; return calls; }; "
    "auto h = [=](float v) -> float { return v + x; }; "
    "r = float4(f(x), g(n) + g(1), h(2), apply([x](float v) { return v - x; }, 9));",
    x=X,
    n=N,
)
def lambdas(x, n):
    return np.stack([x * x, 2 * n + 1, x + 2, 9 - x], 1).astype(np.float32)


@area.each(
    "int4",
    "auto a = n * 2; decltype(a) b = 3; const auto &c = a; pair_of<int> d(4, 5); "
    "r = int4(a + b, c, d.y, is_same<decltype(x), const float>::value);",
    x=X,
    n=N,
)
def deduced_types(x, n):
    return np.stack([2 * n + 3, 2 * n, 0 * n + 5, 0 * n + 1], 1)


@area.each("int4", "using outer::inner::f; r = int4(f(), outer::g(), short_name::depth, ::outer::inner::depth);", n=N)
def namespaces(n):
    return np.tile(np.int32([42, 43, 2, 2]), (len(n), 1))


@area.each(
    "int4",
    "int CONCAT(va, lue) = n; int list[] = {TEXT(1, 2, 3)}; r = int4(value, list[2], MAX_OF(n, \\\n  10), CHOSEN);",
    n=N,
)
def preprocessor(n):
    return np.stack([n, 0 * n + 3, np.maximum(n, 10), 0 * n + 5], 1)


@area.each(
    "int4",
    "r = int4(is_same<int, int>::value + 2 * is_same<int, uint>::value, is_unsigned<ushort>::value + "
    "is_signed<char>::value, sizeof(conditional_t<true, char, long>), is_same<remove_cv_t<const float>, "
    "float>::value);",
    n=N,
)
def type_traits(n):
    return np.tile(np.int32([1, 2, 1, 1]), (len(n), 1))


@area.kernel(
    """
template <typename T, int SCALE>
kernel void scaled(device T *out [[buffer(0)]], device const T *x [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  out[i] = x[i] * T(SCALE);
}
template [[host_name("scaled_float_3")]] kernel void scaled<float, 3>(device float *, device const float *, uint);
template [[host_name("scaled_int_5")]] kernel void scaled<int, 5>(device int *, device const int *, uint);
template [[host_name("scaled_half_2")]] kernel decltype(scaled<half, 2>) scaled<half, 2>;
""",
    ("float", 4),
    inputs={"x": X},
    host_name="scaled_float_3",
    grid=4,
)
def scaled_float_3(x):
    return 3 * x


@area.kernel("", ("int", 4), inputs={"x": N}, host_name="scaled_int_5", grid=4)
def scaled_int_5(x):
    return 5 * x


@area.kernel("", ("half", 4), inputs={"x": X.astype(np.float16)}, host_name="scaled_half_2", grid=4)
def scaled_half_2(x):
    return 2 * x


@area.kernel(
    """
#define ADDER(name, T, amount)                                                                                \\
  [[kernel]] void name(device T *out [[buffer(0)]], uint i [[thread_position_in_grid]]) { out[i] = i + amount; }
ADDER(kernel_made_by_a_macro, int, 7)
ADDER(another_kernel_made_by_a_macro, float, 0.5f)
""",
    ("int", 32),
)
def kernel_made_by_a_macro():
    return np.arange(7, 39, dtype=np.int32)


@area.kernel("", ("float", 32))
def another_kernel_made_by_a_macro():
    return np.arange(32, dtype=np.float32) + np.float32(0.5)


@area.kernel(
    """
kernel void slots_in_order(device int *out, constant int &a, device const int *b, uint i [[thread_position_in_grid]]) {
  out[i] = a * 10 + b[i];
}""",
    ("int", 4),
    inputs={"a": np.int32(3), "b": N},
    grid=4,
)
def slots_in_order(a, b):
    return 30 + b


@area.kernel(
    """
struct arguments_struct { uint count; float2 offset; packed_float3 weights; };
kernel void parameters_in_a_struct(device float *out [[buffer(0)]], constant arguments_struct *p [[buffer(1)]],
                                   uint i [[thread_position_in_grid]]) {
  constant arguments_struct &a = p[0];
  out[i] = i < a.count ? a.offset.y + a.weights[i % 3] : -1;
}""",
    ("float", 32),
    inputs={
        "p": np.array(
            (20, 0, [1, 2], [3, 4, 5], 0), [("n", "u4"), ("_", "u4"), ("o", "f4", 2), ("w", "f4", 3), ("e", "u4")]
        )[()]
    },
)
def parameters_in_a_struct(p):
    i = np.arange(32)
    return np.where(i < 20, 2 + np.float32([3, 4, 5])[i % 3], -1).astype(np.float32)


@area.kernel(
    """
kernel void writes_through_pointers(device uchar *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  device ushort *p = reinterpret_cast<device ushort *>(out) + i;
  *p = ushort(0x0100 + i);
  device uchar &low = *(device uchar *)p;
  low ^= 0xF0;
}""",
    ("uchar", 32),
    threads=16,
)
def writes_through_pointers():
    i = np.arange(16)
    return np.stack([i ^ 0xF0, 0 * i + 1], 1).ravel().astype(np.uint8)


@area.each(
    "int4",
    "first_of f; second_of s; second_of::part<int> p; r = int4(f(x, 7), s(x, 7), p.get(x), 0);",
    x=np.int32([1, 2]),
)
def methods_defined_outside_of_their_classes(x):
    return np.stack([x, np.full_like(x, 7), 3 * x, 0 * x], 1)


@area.each(
    "int",
    """int n = x; constexpr os_log mine("a.b", "c");
  os_log_default.log("%d", n); mine.log_error("%f", float(n)); mine.log_debug("x"); mine.log_info("%u", 3u);
  os_log_default.log_fault("%d %d", n, n); os_log_default.log_with_type(os_log_type_error, "%d", n);
  os_log_default.log("%d", ++n); r = n;""",
    x=np.int32([1, 2]),
)
def logging_goes_nowhere(x):
    return x + 1


SAME_NAME = """
template <typename T, int n> kernel void adjusted(device T *out [[buffer(0)]], device const T *x [[buffer(1)]],
    uint i [[thread_position_in_grid]]) { out[i] = x[i] * n; }
template <typename T, typename U, int n> kernel void adjusted(device T *out [[buffer(0)]],
    device const U *x [[buffer(1)]],
    uint i [[thread_position_in_grid]]) { out[i] = T(x[i]) + n; }
template [[host_name("templates_of_one_name")]] [[kernel]] decltype(adjusted<float, int, 5>) adjusted<float, int, 5>;
"""


@area.kernel(SAME_NAME, ("float", 4), inputs={"x": np.int32([1, 2, 3, 4])}, threads=4)
def templates_of_one_name(x):
    return x.astype(np.float32) + 5
