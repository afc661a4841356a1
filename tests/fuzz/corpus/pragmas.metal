#pragma METAL fp math_mode(safe)
#pragma unroll(nowhere)
#pragma
#pragma METAL internals : enable
kernel void k(device float *x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
#pragma clang loop unroll(full)
for (int j = 0; j < 3; j++) x[j] = j;
}