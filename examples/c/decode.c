// Generation: a prompt's keys and values go to a cache, then each step appends a token and attends all there are. The
// same steps run with a cache of float32 and with one of about 8 bits a number, and must nearly agree.
#include <math.h>
#include <stdio.h>

#include "flash_attn.h"

enum { HEADS = 4, KV_HEADS = 2, DIM = 64, PROMPT = 32, STEPS = 8 };
enum { TOKEN = KV_HEADS * DIM, QUERY = HEADS * DIM };

static fa_tensor tensor(float *data, int heads, int length) {
  return (fa_tensor){.data = data,
                     .dtype = FA_F32,
                     .rank = 4,
                     .shape = {1, heads, length, DIM},
                     .strides = {heads * length * DIM, length * DIM, DIM, 1}};
}

// Numbers that look random and are the same in every run.
static void fill(float *data, int count, unsigned seed) {
  for (int i = 0; i < count; i++) {
    seed = seed * 1664525u + 1013904223u;
    data[i] = (float)(seed >> 8) / (float)(1u << 23) - 1;
  }
}

static fa_status generate(fa_device *device, fa_kv_format format, float out[STEPS][QUERY]) {
  static float k[PROMPT * TOKEN], v[PROMPT * TOKEN], q[QUERY];
  const fa_kv_cache_config config = {
      .batch = 1, .kv_heads = KV_HEADS, .head_dim = DIM, .capacity = 64, .keys = format, .values = format};
  fa_kv_cache *cache = NULL;
  fa_status status = fa_kv_cache_create(device, &config, &cache);
  if (status != FA_OK) return status;
  fill(k, PROMPT * TOKEN, 1);
  fill(v, PROMPT * TOKEN, 2);
  const fa_tensor prompt_k = tensor(k, KV_HEADS, PROMPT), prompt_v = tensor(v, KV_HEADS, PROMPT);
  status = fa_kv_cache_step(cache, &prompt_k, &prompt_v, NULL);
  for (unsigned step = 0; step < STEPS && status == FA_OK; step++) {
    fill(k, TOKEN, 10 + step);
    fill(v, TOKEN, 20 + step);
    fill(q, QUERY, 30 + step);
    const fa_tensor next_k = tensor(k, KV_HEADS, 1), next_v = tensor(v, KV_HEADS, 1);
    const fa_kv_cache_queries queries = {.q = tensor(q, HEADS, 1), .o = tensor(out[step], HEADS, 1), .causal = 1};
    status = fa_kv_cache_step(cache, &next_k, &next_v, &queries);
  }
  fa_kv_cache_info info;
  if (status == FA_OK && (status = fa_kv_cache_get_info(cache, &info)) == FA_OK)
    printf("%d tokens, %d bytes each\n", PROMPT + STEPS, (int)info.bytes_per_token);
  fa_kv_cache_release(cache);
  return status;
}

int main(void) {
  static float exact[STEPS][QUERY], quantised[STEPS][QUERY];
  fa_device *device = NULL;
  if (fa_device_create(FA_PROVIDER_DEFAULT, &device) != FA_OK || generate(device, FA_KV_F32, exact) != FA_OK ||
      generate(device, FA_KV_TQ8, quantised) != FA_OK) {
    fprintf(stderr, "%s\n", fa_last_error());
    return 1;
  }
  float largest = 0;
  for (int step = 0; step < STEPS; step++)
    for (int i = 0; i < QUERY; i++) largest = fmaxf(largest, fabsf(exact[step][i] - quantised[step][i]));
  printf("largest difference %g\n", (double)largest);
  return fa_device_release(device) == FA_OK && largest > 0 && largest < 0.02f ? 0 : 1;
}
