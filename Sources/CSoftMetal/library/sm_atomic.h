// Atomic types and functions, in device and in threadgroup memory.
#pragma once

namespace metal {

enum memory_order {
  memory_order_relaxed = 0,
  memory_order_acquire = 2,
  memory_order_release = 3,
  memory_order_acq_rel = 4,
  memory_order_seq_cst = 5
};
enum thread_scope { thread_scope_thread, thread_scope_simdgroup, thread_scope_threadgroup, thread_scope_device };

template <typename T>
struct atomic {
  T value;
};
template <typename T>
using _atomic = atomic<T>;

#if SM_CHECKED
#define SM_NOTE(kind) sm_check_atomic(object, sizeof(T), kind)
#else
#define SM_NOTE(kind) ((void)0)
#endif

/// Replaces the value x by `update(x)`; returns x.
template <typename T, typename F>
SM_STATIC T sm_atomic_update(volatile atomic<T> *object, F update) {
  SM_NOTE(SM_CHECK_WRITE | SM_CHECK_UPDATE);
  T old;
  __atomic_load(&object->value, &old, __ATOMIC_RELAXED);
  for (;;) {
    T next = update(old);
    if (__atomic_compare_exchange(&object->value, &old, &next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return old;
  }
}

template <typename T>
SM_STATIC T atomic_load_explicit(const volatile atomic<T> *object, memory_order) {
  SM_NOTE(SM_CHECK_READ);
  T value;
  __atomic_load(&object->value, &value, __ATOMIC_RELAXED);
  return value;
}
template <typename T, typename U>
SM_STATIC void atomic_store_explicit(volatile atomic<T> *object, U desired, memory_order) {
  SM_NOTE(SM_CHECK_WRITE);
  T value = sm_convert<T>(desired);
  __atomic_store(&object->value, &value, __ATOMIC_RELAXED);
}
template <typename T, typename U>
SM_STATIC T atomic_exchange_explicit(volatile atomic<T> *object, U desired, memory_order) {
  SM_NOTE(SM_CHECK_WRITE | SM_CHECK_UPDATE);
  T value = sm_convert<T>(desired), old;
  __atomic_exchange(&object->value, &value, &old, __ATOMIC_RELAXED);
  return old;
}
template <typename T, typename U>
SM_STATIC bool atomic_compare_exchange_weak_explicit(volatile atomic<T> *object, T *expected, U desired, memory_order,
                                                     memory_order) {
  SM_NOTE(SM_CHECK_WRITE | SM_CHECK_UPDATE);
  T value = sm_convert<T>(desired);
  return __atomic_compare_exchange(&object->value, expected, &value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
#define SM_FETCH(name, condition, message, expression)                                              \
  template <typename T, typename U>                                                                 \
  SM_STATIC T atomic_fetch_##name##_explicit(volatile atomic<T> *object, U operand, memory_order) { \
    static_assert(condition, message);                                                              \
    const T y = sm_convert<T>(operand);                                                             \
    return sm_atomic_update(object, [y](T x) { return T(expression); });                            \
  }
#define SM_IS_INT (is_same_v<T, int> || is_same_v<T, uint>)
#define SM_NEEDS_INT "this atomic function is for atomic_int and atomic_uint"
SM_FETCH(add, SM_IS_INT || (is_same_v<T, float>), "atomic_fetch_add is for atomic_int, atomic_uint and atomic_float",
         x + y)
SM_FETCH(sub, SM_IS_INT || (is_same_v<T, float>), "atomic_fetch_sub is for atomic_int, atomic_uint and atomic_float",
         x - y)
SM_FETCH(and, SM_IS_INT, SM_NEEDS_INT, x &y)
SM_FETCH(or, SM_IS_INT, SM_NEEDS_INT, x | y)
SM_FETCH(xor, SM_IS_INT, SM_NEEDS_INT, x ^ y)
SM_FETCH(max, SM_IS_INT, SM_NEEDS_INT, x > y ? x : y)
SM_FETCH(min, SM_IS_INT, SM_NEEDS_INT, x < y ? x : y)
#undef SM_FETCH
#undef SM_IS_INT
#undef SM_NEEDS_INT
SM_STATIC void atomic_max_explicit(volatile atomic<ulong> *object, ulong y, memory_order) {
  sm_atomic_update(object, [y](ulong x) { return x > y ? x : y; });
}
SM_STATIC void atomic_min_explicit(volatile atomic<ulong> *object, ulong y, memory_order) {
  sm_atomic_update(object, [y](ulong x) { return x < y ? x : y; });
}

SM_STATIC void atomic_thread_fence([[maybe_unused]] mem_flags flags, memory_order order,
                                   thread_scope = thread_scope_device) {
#if SM_CHECKED
  const bool all = order == memory_order_acq_rel || order == memory_order_seq_cst;
  softmetal_module.host->fence(softmetal::CurrentLane(), uint32_t(flags), all || order == memory_order_acquire,
                               all || order == memory_order_release);
#endif
  if (order == memory_order_relaxed) {
    __asm__ volatile("" ::: "memory");
  } else {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
  }
}

#undef SM_NOTE

}  // namespace metal

typedef metal::atomic<int> atomic_int;
typedef metal::atomic<uint> atomic_uint;
typedef metal::atomic<bool> atomic_bool;
typedef metal::atomic<float> atomic_float;
typedef metal::atomic<ulong> atomic_ulong;
