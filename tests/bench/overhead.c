// Time of an encoder's whole life (create, encode, commit, wait, release) around next to no work, as JSON in
// microseconds. Built and run by overhead.py.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "flash_attn.h"

enum { ROUNDS = 7, CALLS = 2000, WARM_UP = 200 };

static fa_device *device;
static fa_registry *registry;
static fa_buffer *q, *o;

static void check(fa_status status) {
  if (status == FA_OK) return;
  fprintf(stderr, "%s\n%s", fa_last_error(), fa_last_error_log());
  exit(1);
}

static void encode_nothing(fa_encoder *encoder) { (void)encoder; }

static const char *const NOOP_SOURCE = "#include <metal_stdlib>\nkernel void bench_noop() {}\n";

static void encode_noop(fa_encoder *encoder) {
  const fa_dispatch dispatch = {.kernel = "bench_noop", .grid = {1, 1, 1}, .threads = {1, 1, 1}};
  check(fa_encoder_dispatch(encoder, registry, &dispatch));
}

static void encode_prefill(fa_encoder *encoder) {
  const fa_flash_attn_prefill_problem problem = {
      .batch = 1, .heads = 1, .kv_heads = 1, .head_dim = 32, .q_len = 1, .kv_len = 1, .dtype = FA_F32, .scale = 1};
  const fa_flash_attn_prefill_buffers buffers = {.q = q, .k = q, .v = q, .o = o};
  check(fa_flash_attn_prefill(encoder, registry, &problem, &buffers));
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return 1e6 * (double)time.tv_sec + 1e-3 * (double)time.tv_nsec;
}

static double once(void (*encode)(fa_encoder *)) {
  const double start = now();
  fa_encoder *encoder = NULL;
  check(fa_encoder_create(device, &encoder));
  encode(encoder);
  check(fa_encoder_commit(encoder));
  check(fa_encoder_wait(encoder));
  check(fa_encoder_release(encoder));
  return now() - start;
}

static int compare(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, compare);
  return values[count / 2];
}

int main(void) {
  const int64_t shape[] = {1, 1, 1, 32};
  check(fa_device_create(FA_PROVIDER_DEFAULT, &device));
  check(fa_device_get_registry(device, &registry));
  check(fa_buffer_create(device, FA_F32, shape, 4, &q));
  check(fa_buffer_create(device, FA_F32, shape, 4, &o));

  struct {
    const char *name;
    void (*encode)(fa_encoder *);
    double rounds[ROUNDS];
  } cases[] = {{"empty", encode_nothing, {0}}, {"prefill", encode_prefill, {0}}, {"noop", encode_noop, {0}}};
  // A kernel of one's own needs a device that runs shader text.
  fa_status noop = fa_registry_register(registry, "bench_noop", NOOP_SOURCE);
  if (noop == FA_OK) noop = fa_registry_prepare(registry, "bench_noop", NULL, 0);
  const int count = noop == FA_OK ? 3 : 2;

  static double samples[CALLS];
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < count; i++) {
      for (int call = 0; call < WARM_UP; call++) once(cases[i].encode);
      for (int call = 0; call < CALLS; call++) samples[call] = once(cases[i].encode);
      cases[i].rounds[round] = median(samples, CALLS);
    }
  }
  for (int i = 0; i < count; i++) {
    printf("%s\"%s\": %.3f", i == 0 ? "{" : ", ", cases[i].name, median(cases[i].rounds, ROUNDS));
  }
  printf("}\n");

  check(fa_buffer_release(q));
  check(fa_buffer_release(o));
  check(fa_registry_release(registry));
  check(fa_device_release(device));
  return 0;
}
