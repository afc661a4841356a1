// Time from the texts of the library's shaders to a kernel that is ready to run, in milliseconds: the first of this
// process. Built and run by shader.py, once with an empty cache and then with a full one.
//
// Arguments: the kernel's name, then its constants, each as INDEX=VALUE for a bool and INDEX:VALUE for an int.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "flash_attn.h"

enum { MOST_CONSTANTS = 16 };

static void check(fa_status status) {
  if (status == FA_OK) return;
  fprintf(stderr, "%s\n%s", fa_last_error(), fa_last_error_log());
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

int main(int count, char **arguments) {
  if (count < 2 || count > 2 + MOST_CONSTANTS) {
    fprintf(stderr, "usage: %s KERNEL [CONSTANT ...]\n", arguments[0]);
    return 2;
  }
  fa_constant constants[MOST_CONSTANTS] = {{0}};
  const int32_t constant_count = count - 2;
  for (int32_t i = 0; i < constant_count; i++) {
    char *end = NULL;
    constants[i].index = (uint32_t)strtoul(arguments[2 + i], &end, 10);
    constants[i].type = *end == '=' ? FA_CONSTANT_BOOL : FA_CONSTANT_INT;
    constants[i].integer = strtol(end + 1, NULL, 10);
  }
  fa_device *device = NULL;
  fa_registry *registry = NULL;
  check(fa_device_create(FA_PROVIDER_SHADER, &device));
  check(fa_device_get_registry(device, &registry));
  const double start = now();
  check(fa_registry_prepare(registry, arguments[1], constants, constant_count));
  printf("%.3f\n", now() - start);
  check(fa_registry_release(registry));
  check(fa_device_release(device));
  return 0;
}
