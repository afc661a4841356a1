// Which instruction set the kernels use. Each is a namespace of the same name, filled by isa_<name>.cpp.
#ifndef FA_CPU_ISA_H
#define FA_CPU_ISA_H

namespace fa {

enum class Isa { portable, avx2, avx512, avx512bf16 };

/// The machine's best instruction set, or the one PYFA_ISA names. Decided once.
struct IsaChoice {
  Isa isa;
  const char *error;  ///< null, or why PYFA_ISA cannot be followed: no kernel runs then
};

const IsaChoice &isa_choice();

/// The public name: what fa_cpu_isa returns and PYFA_ISA takes.
const char *isa_name(Isa isa);

}  // namespace fa

#endif
