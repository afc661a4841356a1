kernel void k(device float *x [[buffer(0)]], uint i [[thread_position_in_grid]]) {}
kernel void k(device float *x [[buffer(0)]], uint i [[thread_position_in_grid]]) {}