#ifndef FA_UNROLL_H
#define FA_UNROLL_H

// Arrays stay in registers only if the compiler knows every index into them. SoftMetal's lanes keep them in memory
// anyway; there it would only take longer to compile.
#ifdef __SOFTMETAL__
#define FA_UNROLL
#else
#define FA_UNROLL _Pragma("clang loop unroll(full)")
#endif

// Loops over many matrices. SoftMetal's lanes stop at every product, with all they have in memory: what it needs there
// is little code.
#ifdef __SOFTMETAL__
#define FA_UNROLL_MATRICES _Pragma("clang loop unroll(disable)")
#else
#define FA_UNROLL_MATRICES FA_UNROLL
#endif

#endif
