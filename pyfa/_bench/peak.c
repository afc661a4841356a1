// How fast the machine multiplies and adds when nothing else has to be done: chains of one instruction, enough of them
// to hide its latency, on any number of threads.
#include <pthread.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>

enum { CHAINS = 12, MOST_THREADS = 1024 };

// The accumulators pass through each other's asm statements, so that none is optimised away.
#define LOOP(name, isa, vector, expression)                                                       \
  __attribute__((target(isa), noinline)) static void name(uint64_t rounds) {                      \
    vector acc[CHAINS] = {0}, a = {0}, b = {0};                                                   \
    __asm__ volatile("" : "+v"(a), "+v"(b));                                                      \
    for (uint64_t i = 0; i < rounds; i++) {                                                       \
      _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; c++) acc[c] = expression;              \
      __asm__ volatile("" : "+v"(a), "+v"(b));                                                    \
    }                                                                                             \
    _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; c++) __asm__ volatile("" ::"v"(acc[c])); \
  }

LOOP(dot_bf16, "avx512f,avx512bf16", __m512, _mm512_dpbf16_ps(acc[c], (__m512bh)a, (__m512bh)b))
LOOP(fma_avx512, "avx512f", __m512, _mm512_fmadd_ps(a, b, acc[c]))
LOOP(fma_avx2, "avx2,fma", __m256, _mm256_fmadd_ps(a, b, acc[c]))

static const struct {
  void (*run)(uint64_t rounds);
  int flops;  // of one instruction
} loops[] = {{dot_bf16, 64}, {fma_avx512, 32}, {fma_avx2, 16}};

struct work {
  int loop;
  uint64_t rounds;
};

static void *work(void *argument) {
  const struct work *w = argument;
  loops[w->loop].run(w->rounds);
  return 0;
}

/// Runs loop 0 (pairs of bf16), 1 (float32, AVX-512) or 2 (float32, AVX2) on so many threads. Returns the operations.
double peak_run(int loop, uint64_t rounds, int threads) {
  struct work w = {loop, rounds};
  pthread_t others[MOST_THREADS];
  int started = 0;
  while (started < threads - 1 && started < MOST_THREADS && !pthread_create(&others[started], 0, work, &w)) started++;
  work(&w);
  for (int i = 0; i < started; i++) pthread_join(others[i], 0);
  return (started + 1.0) * (double)rounds * CHAINS * loops[loop].flops;
}
#endif
