// Vectors of any element type to and from floats.
#ifndef FA_CPU_CODEC_VECTORS_H
#define FA_CPU_CODEC_VECTORS_H

namespace fa::FA_ISA {

/// What `run` takes for more work than the calling thread should do alone.
constexpr uint64_t many = uint64_t(1) << 15;

FA_INLINE void run(const sm_executor *executor, uint64_t tasks, void (*task)(void *, uint64_t, uint32_t), void *context,
                   uint64_t work) {
  if (work >= many) {
    executor->parallel(executor->self, tasks, task, context);
  } else {
    for (uint64_t i = 0; i < tasks; i++) task(context, i, 0);
  }
}

FA_NOINLINE void read_vector(float *to, const char *from, Elem elem, int head_dim) {
  for (int i = 0; i < head_dim; i += VW) {
    const vf x = elem == Elem::f32   ? load<vf>(from + i * 4)
                 : elem == Elem::f16 ? f16_to_f32(load<vh>(from + i * 2))
                                     : bf16_to_f32(load<vh>(from + i * 2));
    store(to + i, x);
  }
}

FA_NOINLINE void write_vector(char *to, const float *from, Elem elem, int head_dim) {
  for (int i = 0; i < head_dim; i += VW) {
    const vf x = load<vf>(from + i);
    if (elem == Elem::f32) {
      store(to + i * 4, x);
    } else {
      store(to + i * 2, elem == Elem::f16 ? f32_to_f16(x) : f32_to_bf16(x));
    }
  }
}

FA_INLINE float load_norm(const char *norms, int64_t i, bool as_half) {
  if (!as_half) return load<float>(norms + i * 4);
  return f16_to_f32(vh(load<uint16_t>(norms + i * 2)))[0];
}

}  // namespace fa::FA_ISA

#endif
