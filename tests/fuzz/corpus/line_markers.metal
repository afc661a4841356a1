# 7 "a file.h" 1 3
kernel void k(device float *x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[0] = 1; }
# 99999999999 "x"
# "y"
#line 3
# 5 "open
