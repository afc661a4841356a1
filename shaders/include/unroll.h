#ifndef FA_UNROLL_H
#define FA_UNROLL_H

// Arrays stay in registers only if the compiler knows every index into them. SoftMetal's lanes keep them in memory
// anyway; there it would only take longer to compile.
#ifdef __SOFTMETAL__
#define FA_UNROLL
#else
#define FA_UNROLL _Pragma("clang loop unroll(full)")
#endif

#endif
