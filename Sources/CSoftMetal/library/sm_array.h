// metal::array and metal::uniform.
#pragma once

namespace metal {

template <typename T, size_t N>
struct array {
  typedef T value_type;
  T elements[N];

  SM_INLINE constexpr T &operator[](size_t i) { return elements[i]; }
  SM_INLINE constexpr const T &operator[](size_t i) const { return elements[i]; }
  SM_INLINE static constexpr size_t size() { return N; }
  SM_INLINE static constexpr bool empty() { return N == 0; }
  SM_INLINE constexpr T &front() { return elements[0]; }
  SM_INLINE constexpr const T &front() const { return elements[0]; }
  SM_INLINE constexpr T &back() { return elements[N - 1]; }
  SM_INLINE constexpr const T &back() const { return elements[N - 1]; }
  SM_INLINE constexpr T *data() { return elements; }
  SM_INLINE constexpr const T *data() const { return elements; }
  SM_INLINE constexpr T *begin() { return elements; }
  SM_INLINE constexpr const T *begin() const { return elements; }
  SM_INLINE constexpr T *end() { return elements + N; }
  SM_INLINE constexpr const T *end() const { return elements + N; }
  SM_INLINE constexpr void fill(const T &value) {
    for (size_t i = 0; i < N; ++i) elements[i] = value;
  }
};

/// A value that is the same in all threads.
template <typename T>
struct uniform {
  T value;
  uniform() = default;
  template <typename U>
  SM_INLINE constexpr uniform(U other) : value(static_cast<T>(other)) {}
  SM_INLINE constexpr operator T() const { return value; }
};
template <typename T>
SM_STATIC constexpr uniform<T> make_uniform(T value) {
  return uniform<T>(value);
}

}  // namespace metal
