// What compute capability 9.x has and no other: products of matrices by four warps together, the second one in shared
// memory, which run beside the program; and barriers in shared memory that say when a stage is full or empty. Every
// function but those of barriers is called by all lanes of a warp alike.
#pragma once
#include "part/prelude.cuh"

// Threads that multiply together.
constexpr u32 WARPGROUP = 128;
// Rows of a matrix in shared memory have 64 f16, eight units of 16 bytes, and begin at a multiple of eight rows' bytes. Unit e
// of row r lies in the place of unit e ^ r % 8, so that eight rows of a column of units lie in different banks.
constexpr u32 ATOM = 1024;
DEVICE u32 atom_unit(u32 row, u32 unit) { return row * 128 + (unit ^ row % 8) * 16; }

#ifndef HOST
DEVICE u32 shared_address(const void* shared) { return u32(__cvta_generic_to_shared(shared)); }

// Makes a barrier that `count` arrivals complete. Every thread may use it after the next barrier of the block.
DEVICE void barrier_init(u64* barrier, u32 count) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}

// Arrives: what this thread did before is seen by those who wait.
DEVICE void barrier_arrive(u64* barrier) {
    asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(shared_address(barrier)) : "memory");
}

// Waits for the end of a phase: 0 for the first, third and so on, 1 for the others and for the one before the first.
DEVICE void barrier_wait(u64* barrier, u32 phase) {
    u32 done;
    do {
        asm volatile("{ .reg .pred done; mbarrier.try_wait.parity.shared.b64 done, [%1], %2; selp.u32 %0, 1, 0, done; }"
                     : "=r"(done) : "r"(shared_address(barrier)), "r"(phase) : "memory");
    } while (done == 0);
}

// Lets products see what this thread has brought into shared memory.
DEVICE void fence_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Gives up registers, or takes some that others of the block gave up: all threads of a warpgroup do.
template <u32 COUNT> DEVICE void lower_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT)); }
template <u32 COUNT> DEVICE void raise_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT)); }

// Makes the compiler have a register ready here: not compute it later, while products are under way, nor use sums earlier.
DEVICE void ready(u32& word) { asm volatile("" : "+r"(word)::"memory"); }
DEVICE void ready(float& sum) { asm volatile("" : "+f"(sum)::"memory"); }

// Before the first product, and where registers of the next ones were touched.
DEVICE void multiply_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Closes a group of products.
DEVICE void multiply_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until no more than the last PENDING groups are under way. Until then their operands must not change, and their
// sums mean nothing.
template <u32 PENDING> DEVICE void multiply_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory"); }

// sums [64, N] = a [64, 16] b [N, 16]^T, plus the sums where `add` is not 0, of f16, added in f32. Warp w of the warpgroup
// has rows 16 w to 16 w + 15, and its lanes hold a and sums as those of mma.sync do: 4 j + q is of columns 8 j to 8 j + 7.
#define SUMS4(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define SUMS16(i) SUMS4(i), SUMS4(i + 4), SUMS4(i + 8), SUMS4(i + 12)
DEVICE void multiply(float (&sums)[32], const u32 (&a)[4], u64 b, u32 add) {
    asm volatile("{ .reg .pred add; setp.ne.u32 add, %37, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
                 "{%32,%33,%34,%35}, %36, add, 1, 1, 0; }"
                 : SUMS16(0), SUMS16(16)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
DEVICE void multiply(float (&sums)[64], const u32 (&a)[4], u64 b, u32 add) {
    asm volatile("{ .reg .pred add; setp.ne.u32 add, %69, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                 "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, "
                 "{%64,%65,%66,%67}, %68, add, 1, 1, 0; }"
                 : SUMS16(0), SUMS16(16), SUMS16(32), SUMS16(48)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
#undef SUMS4
#undef SUMS16
#endif

// A matrix in shared memory, laid out as `atom_unit` says, from a multiple of 16 columns on: the layout, the bytes from eight rows
// to the next in units of 16, a number that this layout has no use for, the address.
DEVICE u64 matrix_at(const void* shared) {
    return u64(1) << 62 | u64(ATOM / 16) << 32 | u64(1) << 16 | (shared_address(shared) & 0x3ffffu) >> 4;
}
