#include "switch.h"

#if defined(__APPLE__)
#define SM_FUNCTION(name) ".text\n.p2align 4\n.globl _" name "\n_" name ":\n\t"
#elif defined(__x86_64__)
#define SM_FUNCTION(name) \
  ".text\n.p2align 4\n.globl " name "\n.type " name ", @function\n.hidden " name "\n" name ":\n\t"
#else
#define SM_FUNCTION(name) \
  ".text\n.p2align 4\n.globl " name "\n.type " name ", %function\n.hidden " name "\n" name ":\n\t"
#endif

// clang-format off: one instruction each
#if defined(__x86_64__)
__asm__(
    SM_FUNCTION("softmetal_switch")
    "pushq %rbp\n\t"
    "pushq %rbx\n\t"
    "pushq %r12\n\t"
    "pushq %r13\n\t"
    "pushq %r14\n\t"
    "pushq %r15\n\t"
    "leaq 1f(%rip), %rax\n\t"
    "pushq %rax\n\t"
    "movq %rsp, (%rdi)\n\t"
    "movq %rsi, %rsp\n\t"
    "popq %rax\n\t"
    "jmpq *%rax\n"
    "1:\n\t"
    "popq %r15\n\t"
    "popq %r14\n\t"
    "popq %r13\n\t"
    "popq %r12\n\t"
    "popq %rbx\n\t"
    "popq %rbp\n\t"
    "retq\n"
    SM_FUNCTION("softmetal_call_on")
    "pushq %rbp\n\t"
    "movq %rsp, %rbp\n\t"
    "movq %rdi, %rsp\n\t"
    "movq %rdx, %rdi\n\t"
    "callq *%rsi\n\t"
    "movq %rbp, %rsp\n\t"
    "popq %rbp\n\t"
    "retq\n");
#else
__asm__(
    SM_FUNCTION("softmetal_switch")
    "sub sp, sp, #192\n\t"
    "adr x9, 1f\n\t"
    "stp x29, x30, [sp]\n\t"
    "stp x19, x9, [sp, #16]\n\t"
    "stp x20, x21, [sp, #32]\n\t"
    "stp x22, x23, [sp, #48]\n\t"
    "stp x24, x25, [sp, #64]\n\t"
    "stp x26, x27, [sp, #80]\n\t"
    "str x28, [sp, #96]\n\t"
    "stp d8, d9, [sp, #112]\n\t"
    "stp d10, d11, [sp, #128]\n\t"
    "stp d12, d13, [sp, #144]\n\t"
    "stp d14, d15, [sp, #160]\n\t"
    "mov x10, sp\n\t"
    "str x10, [x0]\n\t"
    "mov sp, x1\n\t"
    "ldr x9, [sp, #24]\n\t"
    "br x9\n"
    "1:\n\t"
    "ldp x29, x30, [sp]\n\t"
    "ldr x19, [sp, #16]\n\t"
    "ldp x20, x21, [sp, #32]\n\t"
    "ldp x22, x23, [sp, #48]\n\t"
    "ldp x24, x25, [sp, #64]\n\t"
    "ldp x26, x27, [sp, #80]\n\t"
    "ldr x28, [sp, #96]\n\t"
    "ldp d8, d9, [sp, #112]\n\t"
    "ldp d10, d11, [sp, #128]\n\t"
    "ldp d12, d13, [sp, #144]\n\t"
    "ldp d14, d15, [sp, #160]\n\t"
    "add sp, sp, #192\n\t"
    "ret\n"
    SM_FUNCTION("softmetal_call_on")
    "stp x29, x30, [sp, #-16]!\n\t"
    "mov x29, sp\n\t"
    "mov sp, x0\n\t"
    "mov x0, x2\n\t"
    "blr x1\n\t"
    "mov sp, x29\n\t"
    "ldp x29, x30, [sp], #16\n\t"
    "ret\n");
#endif
// clang-format on
