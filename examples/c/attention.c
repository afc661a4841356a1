// A prompt: causal attention of every row in one call, over memory of the program.
#include <stdio.h>

#include "flash_attn.h"

enum { HEADS = 2, LENGTH = 4, DIM = 64, COUNT = HEADS * LENGTH * DIM };

static fa_tensor tensor(float *data) {
  return (fa_tensor){.data = data,
                     .dtype = FA_F32,
                     .rank = 4,
                     .shape = {1, HEADS, LENGTH, DIM},
                     .strides = {COUNT, LENGTH * DIM, DIM, 1}};
}

int main(void) {
  static float q[COUNT], k[COUNT], v[COUNT], out[COUNT];
  for (int i = 0; i < COUNT; i++) v[i] = (float)(i / DIM % LENGTH);  // row j of v holds j

  fa_device *device = NULL;
  const fa_attention_args args = {
      .q = tensor(q), .k = tensor(k), .v = tensor(v), .o = tensor(out), .layout = FA_LAYOUT_BHLD, .causal = 1};
  if (fa_device_create(FA_PROVIDER_DEFAULT, &device) != FA_OK || fa_attention(device, &args) != FA_OK) {
    fprintf(stderr, "%s\n", fa_last_error());
    return 1;
  }
  // All scores are 0, so row i is the mean of rows 0 ... i of v: i / 2.
  int wrong = 0;
  for (int i = 0; i < LENGTH; i++) {
    printf("row %d: %g\n", i, (double)out[i * DIM]);
    wrong |= out[i * DIM] != (float)i / 2;
  }
  return fa_device_release(device) == FA_OK && !wrong ? 0 : 1;
}
