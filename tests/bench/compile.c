// Time from the text of a shader to a kernel that is ready to run, in milliseconds: the first of this process.
// Built and run by shader.py, once with an empty cache and then with a full one.
//
// Arguments: the shader's file, and the name of a prefill kernel in it.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "flash_attn.h"

static void check(fa_status status) {
  if (status == FA_OK) return;
  fprintf(stderr, "%s\n%s", fa_last_error(), fa_last_error_log());
  exit(1);
}

static char *contents(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
    perror(path);
    exit(1);
  }
  const long bytes = ftell(file);
  rewind(file);
  char *text = calloc((size_t)bytes + 1, 1);
  if (text == NULL || fread(text, 1, (size_t)bytes, file) != (size_t)bytes) {
    perror(path);
    exit(1);
  }
  fclose(file);
  return text;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: %s SHADER KERNEL\n", arguments[0]);
    return 2;
  }
  char *source = contents(arguments[1]);
  fa_device *device = NULL;
  fa_registry *registry = NULL;
  check(fa_device_create(FA_PROVIDER_SHADER, &device));
  check(fa_device_get_registry(device, &registry));
  // Everything that makes the kernel longer: edges, a mask, causality and log-sum-exps.
  const fa_constant constants[] = {{.index = 200, .type = FA_CONSTANT_BOOL, .integer = 0},
                                   {.index = 201, .type = FA_CONSTANT_BOOL, .integer = 0},
                                   {.index = 300, .type = FA_CONSTANT_BOOL, .integer = 1},
                                   {.index = 301, .type = FA_CONSTANT_BOOL, .integer = 1},
                                   {.index = 306, .type = FA_CONSTANT_BOOL, .integer = 1}};
  const double start = now();
  check(fa_registry_register(registry, "bench_compile", source));
  check(fa_registry_prepare(registry, arguments[2], constants, sizeof constants / sizeof *constants));
  printf("%.3f\n", now() - start);
  check(fa_registry_release(registry));
  check(fa_device_release(device));
  free(source);
  return 0;
}
