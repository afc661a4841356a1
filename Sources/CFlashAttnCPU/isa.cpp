#include "isa.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "flash_attn_cpu.h"

namespace fa {
namespace {

constexpr Isa every_isa[] = {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512bf16};

bool available(Isa isa) {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  switch (isa) {
    case Isa::portable:
      return true;
    case Isa::avx2:
      return avx2;
    case Isa::avx512:
      return avx512;
    case Isa::avx512bf16:
      return avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi") &&
             __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("gfni");
  }
#endif
  return isa == Isa::portable;
}

IsaChoice choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  Isa best = Isa::portable;
  for (Isa isa : every_isa) {
    if (available(isa)) best = isa;
  }
  const char *wanted = std::getenv("PYFA_ISA");
  if (wanted == nullptr || *wanted == '\0') return {best, nullptr};

  static char error[256];
  int used = std::snprintf(error, sizeof error, "PYFA_ISA: needs one of");
  for (Isa isa : every_isa) {
    if (!available(isa)) continue;
    if (std::strcmp(wanted, isa_name(isa)) == 0) return {isa, nullptr};
    used += std::snprintf(error + used, sizeof error - used, "%s %s", isa == Isa::portable ? "" : ",", isa_name(isa));
  }
  std::snprintf(error + used, sizeof error - used, " on this machine, got \"%.40s\"", wanted);
  return {best, error};
}

}  // namespace

const IsaChoice &isa_choice() {
  static const IsaChoice choice = choose();
  return choice;
}

const char *isa_name(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return "portable";
    case Isa::avx2:
      return "x86-64-v3";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512bf16:
      return "avx512bf16";
  }
  return "portable";
}

}  // namespace fa

extern "C" const char *fa_cpu_isa(void) {
  const fa::IsaChoice &choice = fa::isa_choice();
  return choice.error != nullptr ? choice.error : fa::isa_name(choice.isa);
}
