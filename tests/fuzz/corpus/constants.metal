using namespace metal;
constant bool has_bias [[function_constant(0)]];
constant int width [[function_constant(1)]];
constant int columns = is_function_constant_defined(width) ? width : 4;
struct Params {
  uint n;
  float scale;
  packed_float3 origin;
};
kernel void axpy(device const float *x [[buffer(0)]], device float *y [[buffer(1)]], constant Params &p [[buffer(2)]],
                 device const half *bias [[buffer(3), function_constant(has_bias)]],
                 uint i [[thread_position_in_grid]]) {
  if (i >= p.n) return;
  float value = x[i] * p.scale + 0.5h;
  if (has_bias) value += float(bias[i % columns]);
  y[i] = value;
}
