/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The safe copies for x86-64. Rules that make any instruction of them resumable:
 *
 * X1  No stack is used and the caller's frame is the one at entry, so the fix-up is a plain jump.
 * X2  %rax is the only register that tells progress: bytes wholly moved, all addresses are base +
 *     %rax. A fault anywhere leaves a state from which the rest can be moved again. (Under valgrind
 *     %rax may be older than the fault; an older one is still a true lower bound.)
 * X3  A load comes before the store that depends on it, and a chunk's loads come before its stores:
 *     nothing is written beyond the bytes that could be read.
 * X4  The table holds ranges, not exact instructions: emulators report a neighbour, and so may a
 *     machine check. A range begins where %rax is valid; at every instruction of it %rax <= bytes.
 * X5  `rep movsb` only on CPUs with fast short rep movsb (FSRM): some older ones cannot recover a
 *     machine check taken in its microcode (Linux lists them for its own copy_mc). Its registers
 *     are not trusted either: after a fault the load begins again with vectors and finds the edge.
 *
 * After a fault a load goes on byte by byte to the edge: its count is exact. Where the edge is the
 * signal says, in %rcx at the fix-up, so that it is not met again: a signal costs more than reading
 * a row. Stores and touch work line by line near the edge: poison never starts inside a line.
 *
 * Arguments: dst %rdi, src %rsi, bytes %rdx, count returned in %rax; touch: src %rdi, bytes %rsi.
 */
#if defined(__x86_64__)
#ifdef __CET__
#include <cet.h>
#else
#define _CET_ENDBR
#endif

    .text

.macro FUNC name
    .p2align 6
    .globl \name
    .hidden \name
    .type \name, @function
\name:
    .cfi_startproc
    _CET_ENDBR
.endm

.macro ENDFUNC name
    .cfi_endproc
    .size \name, . - \name
.endm

/* Relative to their own place, so the table needs no relocation in a shared library. */
.macro EXTAB from, to, fixup
    .pushsection mc_extab, "a", @progbits
    .balign 4
    .long \from - .
    .long \to - .
    .long \fixup - .
    .popsection
.endm

/* --- load ------------------------------------------------------------------------------------- */

/* The end of every load that faulted: byte by byte to %rcx, or, where the signal does not name one
 * page, to a second fault. The end, too, of those of fewer than 4 bytes. */
    .p2align 6
    .type mc_x86_faulted, @function
mc_x86_faulted:
    .cfi_startproc
    subq %rsi, %rcx
    jae 1f
    ret                     /* it begins before the source: nothing more is to be had */
1:  cmpq %rdx, %rcx
    cmovbq %rcx, %rdx
    jmp mc_x86_finish
ENDFUNC mc_x86_faulted

    .type mc_x86_finish, @function
mc_x86_finish:
    .cfi_startproc
    cmpq %rdx, %rax
    jae 2f
1:  movzbl (%rsi,%rax), %ecx
    movb %cl, (%rdi,%rax)
    incq %rax
    cmpq %rdx, %rax
    jb 1b
2:  ret
    EXTAB 1b, 2b, 2b
ENDFUNC mc_x86_finish

/* Fewer than 16 bytes: two pieces that overlap in the middle. */
.macro LOAD_BELOW_16
    cmpq $8, %rdx
    jb 1f
    movq (%rsi), %rcx
    movq -8(%rsi,%rdx), %r8
    movq %rcx, (%rdi)
    movq %r8, -8(%rdi,%rdx)
    movq %rdx, %rax
    ret
1:  cmpq $4, %rdx
    jb mc_x86_finish
    movl (%rsi), %ecx
    movl -4(%rsi,%rdx), %r8d
    movl %ecx, (%rdi)
    movl %r8d, -4(%rdi,%rdx)
    movq %rdx, %rax
    ret
.endm

FUNC mc_x86_load_8byte
    xorl %eax, %eax
.Lload_8byte_start:
    cmpq $16, %rdx
    jb .Lload_8byte_small
    cmpq $32, %rdx
    jb 2f
1:  movq (%rsi,%rax), %rcx
    movq 8(%rsi,%rax), %r8
    movq 16(%rsi,%rax), %r9
    movq 24(%rsi,%rax), %r10
    movq %rcx, (%rdi,%rax)
    movq %r8, 8(%rdi,%rax)
    movq %r9, 16(%rdi,%rax)
    movq %r10, 24(%rdi,%rax)
    addq $32, %rax
    leaq 32(%rax), %rcx
    cmpq %rdx, %rcx
    jbe 1b
2:  leaq 8(%rax), %rcx
    cmpq %rdx, %rcx
    ja 3f
    movq (%rsi,%rax), %r8
    movq %r8, (%rdi,%rax)
    movq %rcx, %rax
    jmp 2b
3:  movq -8(%rsi,%rdx), %rcx
    movq %rcx, -8(%rdi,%rdx)
    movq %rdx, %rax
    ret
.Lload_8byte_small:
    LOAD_BELOW_16
.Lload_8byte_end:
    EXTAB .Lload_8byte_start, .Lload_8byte_end, mc_x86_faulted
ENDFUNC mc_x86_load_8byte

FUNC mc_x86_load_avx2
    xorl %eax, %eax
.Lload_avx2_start:
    cmpq $32, %rdx
    jb .Lload_avx2_small
    cmpq $128, %rdx
    jb 2f
1:  vmovdqu (%rsi,%rax), %ymm0
    vmovdqu 32(%rsi,%rax), %ymm1
    vmovdqu 64(%rsi,%rax), %ymm2
    vmovdqu 96(%rsi,%rax), %ymm3
    vmovdqu %ymm0, (%rdi,%rax)
    vmovdqu %ymm1, 32(%rdi,%rax)
    vmovdqu %ymm2, 64(%rdi,%rax)
    vmovdqu %ymm3, 96(%rdi,%rax)
    subq $-128, %rax
    leaq 128(%rax), %rcx
    cmpq %rdx, %rcx
    jbe 1b
2:  leaq 32(%rax), %rcx
    cmpq %rdx, %rcx
    ja 3f
    vmovdqu (%rsi,%rax), %ymm0
    vmovdqu %ymm0, (%rdi,%rax)
    movq %rcx, %rax
    jmp 2b
3:  cmpq %rdx, %rax
    je 4f
    vmovdqu -32(%rsi,%rdx), %ymm0
    vmovdqu %ymm0, -32(%rdi,%rdx)
4:  vzeroupper
    movq %rdx, %rax
    ret
.Lload_avx2_small:
    cmpq $16, %rdx
    jb 5f
    vmovdqu (%rsi), %xmm0
    vmovdqu -16(%rsi,%rdx), %xmm1
    vmovdqu %xmm0, (%rdi)
    vmovdqu %xmm1, -16(%rdi,%rdx)
    movq %rdx, %rax
    ret
5:  LOAD_BELOW_16
.Lload_avx2_end:
    EXTAB .Lload_avx2_start, .Lload_avx2_end, .Lload_avx2_fault
.Lload_avx2_fault:
    vzeroupper
    jmp mc_x86_faulted
ENDFUNC mc_x86_load_avx2

/* zmm16 and up: the caller's SSE code then needs no vzeroupper. Masked-out bytes do not fault. */
FUNC mc_x86_load_avx512
    xorl %eax, %eax
.Lload_avx512_start:
    cmpq $64, %rdx
    jb 5f
    cmpq $256, %rdx
    jb 2f
1:  vmovdqu64 (%rsi,%rax), %zmm16
    vmovdqu64 64(%rsi,%rax), %zmm17
    vmovdqu64 128(%rsi,%rax), %zmm18
    vmovdqu64 192(%rsi,%rax), %zmm19
    vmovdqu64 %zmm16, (%rdi,%rax)
    vmovdqu64 %zmm17, 64(%rdi,%rax)
    vmovdqu64 %zmm18, 128(%rdi,%rax)
    vmovdqu64 %zmm19, 192(%rdi,%rax)
    addq $256, %rax
    leaq 256(%rax), %rcx
    cmpq %rdx, %rcx
    jbe 1b
2:  leaq 64(%rax), %rcx
    cmpq %rdx, %rcx
    ja 3f
    vmovdqu64 (%rsi,%rax), %zmm16
    vmovdqu64 %zmm16, (%rdi,%rax)
    movq %rcx, %rax
    jmp 2b
3:  cmpq %rdx, %rax
    je 4f
    vmovdqu64 -64(%rsi,%rdx), %zmm16 /* a masked store is not forwarded to the loads of a hash */
    vmovdqu64 %zmm16, -64(%rdi,%rdx)
4:  movq %rdx, %rax
    ret
5:  movq %rdx, %rcx
    movq $-1, %r8
    bzhiq %rcx, %r8, %r8
    kmovq %r8, %k1
    vmovdqu8 (%rsi), %zmm16{%k1}{z}
    vmovdqu8 %zmm16, (%rdi){%k1}
    movq %rdx, %rax
    ret
.Lload_avx512_end:
    EXTAB .Lload_avx512_start, .Lload_avx512_end, mc_x86_faulted
ENDFUNC mc_x86_load_avx512

/* From here on a copy leaves the first-level cache, and stores of registers, which fetch the line
 * they write first, fall behind what fast strings do: 1.35 times at 64 KiB, measured. */
#define FAST_STRINGS_FROM (32 << 10)

FUNC mc_x86_load_avx512_rep
    cmpq $FAST_STRINGS_FROM, %rdx
    jb mc_x86_load_avx512
    movq %rdi, %r8
    movq %rsi, %r9
    movq %rdx, %rcx
1:  rep movsb
2:  movq %rdx, %rax
    ret
3:  movq %r8, %rdi
    movq %r9, %rsi
    jmp mc_x86_load_avx512
    EXTAB 1b, 2b, 3b
ENDFUNC mc_x86_load_avx512_rep

/* --- store: one whole line at a time ---------------------------------------------------------- */

.macro HALF_LINE_8BYTE mov, off
    movq \off(%rsi,%rax), %r8
    movq \off+8(%rsi,%rax), %r9
    movq \off+16(%rsi,%rax), %r10
    movq \off+24(%rsi,%rax), %r11
    \mov %r8, \off(%rdi,%rax)
    \mov %r9, \off+8(%rdi,%rax)
    \mov %r10, \off+16(%rdi,%rax)
    \mov %r11, \off+24(%rdi,%rax)
.endm

.macro LINE_8byte how
    .ifc \how, nt
    HALF_LINE_8BYTE movntiq, 0
    HALF_LINE_8BYTE movntiq, 32
    .else
    HALF_LINE_8BYTE movq, 0
    HALF_LINE_8BYTE movq, 32
    .endif
.endm

.macro LINE_avx2 how
    vmovdqu (%rsi,%rax), %ymm0
    vmovdqu 32(%rsi,%rax), %ymm1
    .ifc \how, nt
    vmovntdq %ymm0, (%rdi,%rax)
    vmovntdq %ymm1, 32(%rdi,%rax)
    .else
    vmovdqa %ymm0, (%rdi,%rax)
    vmovdqa %ymm1, 32(%rdi,%rax)
    .endif
.endm

.macro LINE_avx512 how
    vmovdqu64 (%rsi,%rax), %zmm16
    .ifc \how, nt
    vmovntdq %zmm16, (%rdi,%rax)
    .else
    vmovdqa64 %zmm16, (%rdi,%rax)
    .endif
.endm

/* The line is stored and written back before %rax counts it. A length that is not whole lines is
 * cut, never exceeded: the caller sees it as a short count. */
.macro STORE width, how
FUNC mc_x86_store_\width\()_\how
    xorl %eax, %eax
    andq $-64, %rdx
    jz 2f
    .p2align 4
1:  LINE_\width \how
    .ifc \how, clwb
    clwb (%rdi,%rax)
    .endif
    .ifc \how, clflushopt
    clflushopt (%rdi,%rax)
    .endif
    .ifc \how, clflush
    clflush (%rdi,%rax)
    .endif
    addq $64, %rax
    cmpq %rdx, %rax
    jb 1b
2:
    .ifc \width, avx2
    vzeroupper
    .endif
    ret
    EXTAB 1b, 2b, 2b
ENDFUNC mc_x86_store_\width\()_\how
.endm

.macro STORES width
    STORE \width, plain
    STORE \width, nt
    STORE \width, clwb
    STORE \width, clflushopt
    STORE \width, clflush
.endm

    STORES 8byte
    STORES avx2
    STORES avx512

/* --- touch ------------------------------------------------------------------------------------ */

/* The loaded values are folded into %cl: a load whose value nobody uses is dropped by valgrind. */
FUNC mc_x86_touch
    xorl %eax, %eax
    xorl %ecx, %ecx
    testq %rsi, %rsi
    jz 3f
    movq %rdi, %r8
    orq $63, %r8
    incq %r8
    subq %rdi, %r8
1:  orb (%rdi,%rax), %cl
    movq %r8, %rax
    addq $64, %r8
    cmpq %rsi, %rax
    jb 1b
2:  cmpq %rsi, %rax
    cmovaq %rsi, %rax
3:  ret
    EXTAB 1b, 2b, 2b
ENDFUNC mc_x86_touch

#endif

    .section .note.GNU-stack, "", @progbits
