// The Metal Shading Language for a CPU: the one header a translated kernel includes.
//
// What generated code looks like
// ------------------------------
// #include "softmetal_device.h"
// …the shader's text, translated…
// SM_KERNEL("host name", 1024, k) {                       // most threads in a threadgroup; any name for `k`
//   ns::kernel_function<float>(k.buffer(0), k.reference(3), k.threadgroup(0), k.thread_position_in_grid(), …);
// }
//
// Arguments. Each is an object that converts to whatever type the parameter has, so types need not be known:
//   k.buffer(n)                  T* in `device` or `constant`
//   k.reference(n)               T& in `device` or `constant`
//   k.threadgroup(n)             `threadgroup T*`, [[threadgroup(n)]]; k.threadgroup_reference(n) for `threadgroup T&`
//   k.<attribute>()              the built-in of that name: integers and vectors of them, of any width
//
// Translation of text.
//   device, threadgroup, thread  removed; `constant` becomes const (removed after a method's parameter list)
//   kernel                       SM_KERNEL_FUNCTION
//   threadgroup T name[2][3];    typedef T sm_t7[2][3]; sm_t7 &name = sm_threadgroup<sm_t7, 7>(); in a function's body,
//                                where 7 is a number that no other variable of the text has
//   v.xzy, p->rg (read)          v.template sm_get<0, 2, 1>(), p->template sm_get<0, 1>()
//   v.xz = w; (=, +=, -=, …)     v.template sm_set<0, 2>() = w; (an object that refers to v). Components x … w and
//                                r … a alone are members and stay as they are.
//   static_cast<T>(e)            sm_static_cast<T>(e): also between half and bfloat, and NaN to 0
//   1.5 → 1.5f, 1.5h → ((half)1.5f), 1.5bf → ((bfloat)1.5f)
//   is_function_constant_defined(c)   true or false
//   lockstep                     { SM_LOCK(); statement } around a statement that stores to threadgroup memory;
//                                SM_LOCK() is nothing unless SM_LOCKSTEP is 1. simdgroup_store locks by itself.
//   #pragma METAL …, unroll(…) with a macro   removed
//
// Names that begin with sm_ or SM_ are the library's own. The types (float4, half, atomic_uint …) are global as in
// Metal; functions are in namespace metal. No function of the library needs a symbol from outside: what a kernel needs
// of its host it reaches through softmetal_module.host.
#pragma once

#ifndef SM_LOCKSTEP
#define SM_LOCKSTEP 0
#endif
#ifndef SM_CHECKED
#define SM_CHECKED 0
#endif

// clang-format off: each builds on those above it
#include "sm_types.h"
// Each builds on those before it.
// clang-format off
#include "sm_limits.h"
#include "sm_vector.h"
#include "sm_integer.h"
#include "sm_math.h"
#include "sm_packing.h"
#include "sm_geometry.h"
#include "sm_matrix.h"
#include "sm_lane.h"
#include "sm_host.h"
#include "softmetal_checked.h"
#include "sm_rendezvous.h"
#include "sm_simd.h"
#include "sm_builtins.h"
#include "sm_quad.h"
#include "sm_simdgroup_matrix.h"
#include "sm_atomic.h"
#include "sm_array.h"
#include "sm_logging.h"
#include "sm_kernel.h"
// clang-format on
// clang-format on
