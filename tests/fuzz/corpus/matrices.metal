using namespace metal;
kernel void multiply(device const bfloat *a [[buffer(0)]], device const bfloat *b [[buffer(1)]],
                     device float *c [[buffer(2)]], device atomic_uint *count [[buffer(3)]],
                     ushort2 at [[thread_position_in_threadgroup]]) {
  simdgroup_matrix<bfloat, 8, 8> x, y;
  simdgroup_float8x8 z = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  simdgroup_load(x, a, 8, ulong2(0, 0), false);
  simdgroup_load(y, b, 8);
  simdgroup_multiply_accumulate(z, x, y, z);
  z.thread_elements()[0] *= as_type<float>(0x3f800000u);
  simdgroup_store(z, c, 8);
  float4 v = float4(1.0f).wzyx;
  v.xy = v.zw + 1.0bf;
  atomic_fetch_add_explicit(count, uint(v.x), memory_order_relaxed);
}
