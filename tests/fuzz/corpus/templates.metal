using namespace metal;
namespace ops {
template <typename T>
struct Pair {
  T a, b;
  T sum() const thread { return a + b; }
};
template <typename T, int N = 4>
inline T fold(thread const T *v) {
  T s = T(0);
  for (int i = 0; i < N; i++) s += v[i];
  return s;
}
}  // namespace ops
template <typename T, int N>
[[kernel, max_total_threads_per_threadgroup(64)]] void gather(device const T *in [[buffer(0)]],
                                                              device T *out [[buffer(1)]],
                                                              threadgroup T *shared [[threadgroup(0)]],
                                                              uint3 group [[threadgroup_position_in_grid]],
                                                              ushort lane [[thread_index_in_simdgroup]]) {
  threadgroup T tile[N];
  T v[N];
  for (int i = 0; i < N; i++) v[i] = in[group.x * N + i];
  tile[lane % N] = v[lane % N];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  ops::Pair<T> p = {tile[0], ops::fold<T, N>(v)};
  shared[lane] = simd_sum(p.sum());
  simdgroup_barrier(mem_flags::mem_threadgroup);
  if (lane == 0) out[group.x] = shared[0];
}
template [[host_name("gather_f32")]] kernel decltype(gather<float, 4>) gather<float, 4>;
template [[host_name("gather_f16")]] kernel decltype(gather<half, 8>) gather<half, 8>;
