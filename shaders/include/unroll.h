#ifndef FA_UNROLL_H
#define FA_UNROLL_H

// Arrays stay in registers only if the compiler knows every index into them.
#define FA_UNROLL _Pragma("clang loop unroll(full)")

#endif
