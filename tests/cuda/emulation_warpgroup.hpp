// What cuda/part/warpgroup.cuh has for compute capability 9.x, where the functions are described. Part of emulation.hpp.
#pragma once

namespace emulation {
// Where shared memory lies in the address space of its own. It is aligned no better than a kernel may count on.
uint32_t shared_address(const void* shared);

void barrier_init(const void* barrier, unsigned count);
void barrier_arrive(const void* barrier);
void barrier_wait(const void* barrier, unsigned phase, Site site);
void fence_shared();

// The products' operands must stay as they are until the products were waited for, and the sums are garbage meanwhile:
// `columns` / 2 of them.
void warpgroup_multiply(float* sums, const uint32_t* a, unsigned columns, uint64_t b, bool add, Site site);
void multiply_fence();
void multiply_commit();
void multiply_wait(std::size_t pending, Site site);
} // namespace emulation

#define KERNEL_ALONE(threads, name) KERNEL_OF(threads, name)

inline uint32_t shared_address(const void* shared) { return emulation::shared_address(shared); }
inline void barrier_init(unsigned long long* barrier, uint32_t count) { emulation::barrier_init(barrier, count); }
inline void barrier_arrive(unsigned long long* barrier) { emulation::barrier_arrive(barrier); }
inline void barrier_wait(unsigned long long* barrier, uint32_t phase, EMULATION_SITE) {
    emulation::barrier_wait(barrier, phase, {file, line});
}
inline void fence_shared() { emulation::fence_shared(); }
template <uint32_t COUNT> void lower_registers() { static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256); }
template <uint32_t COUNT> void raise_registers() { static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256); }
inline void ready(uint32_t&) {}
inline void ready(float&) {}
inline void multiply_fence() { emulation::multiply_fence(); }
inline void multiply_commit() { emulation::multiply_commit(); }
template <uint32_t PENDING> void multiply_wait(EMULATION_SITE) { emulation::multiply_wait(PENDING, {file, line}); }
template <std::size_t SUMS>
void multiply(float (&sums)[SUMS], const uint32_t (&a)[4], unsigned long long b, uint32_t add, EMULATION_SITE) {
    static_assert(SUMS == 32 || SUMS == 64);
    emulation::warpgroup_multiply(sums, a, 2 * SUMS, b, add != 0, {file, line});
}
