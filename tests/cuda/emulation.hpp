// CUDA's words for a C++ compiler, so that cuda/*.cu run on the host. The threads of a block are fibers that change place
// at barriers and at operations of a warp; with EMULATION_THREADS they are threads of the system, for the thread
// sanitizer. What a kernel must not count on is made to show: shared memory starts as garbage, so does the target of a
// copy until it is waited for, and threads that wait in different places are an error.
//
// Compile each .cu with `-std=c++20 -DHOST -ffp-contract=off -I cuda -I tests/cuda`, and emulation.cpp once.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

// An argument that becomes whatever type the kernel takes. `Unit` keeps apart the files' different `Params`. It
// stands outside all namespaces so that kernels, which do too, are found by it.
template <class Unit> struct EmulatedArgument {
    void* from;
    template <class T> operator T() const {
        T value;
        std::memcpy(static_cast<void*>(&value), from, sizeof(T));
        return value;
    }
};

namespace emulation {

struct Index {
    unsigned x = 1, y = 1, z = 1;
};

// Where a thread stands in its launch.
struct Place {
    Index thread, block, block_size, grid;
};
Place& place();

// Where a thread waits, for the detection of those that wait elsewhere.
struct Site {
    const char* file;
    int line;
    bool operator==(const Site& other) const { return line == other.line && std::strcmp(file, other.file) == 0; }
};

// Shared memory of the block, the same for all its threads at one declaration.
void* shared(const void* declaration, std::size_t bytes);
unsigned char* shared_dynamic();

// Waits for all threads of the block.
void block_barrier(Site site);

// What a lane shows the others of its warp.
struct Shown {
    alignas(8) unsigned char bytes[40];
};
// Shows 40 bytes at most and gives what all 32 lanes show; all of them take part.
const Shown* warp_exchange(uint32_t mask, const void* bytes, std::size_t count, Site site);

// A copy of 16 bytes that is made when its group is waited for.
void copy16(void* shared, const void* global, bool inside);
void copy_commit();
void copy_wait(std::size_t pending);

// A kernel: its name, and how it is called with the addresses of its arguments.
using Call = void (*)(void** arguments);
struct Entry {
    const char* name;
    Call call;
    // The most threads of a block, 0 where the kernel does not say.
    unsigned most_threads;
    Entry(const char* name, Call call, unsigned most_threads);
};

// The kernel of a name, or null.
const Entry* find(const char* name);

// Runs a kernel. Throws std::runtime_error for what a device would refuse or hang at.
void launch(const Entry& entry, Index grid, Index block, std::size_t shared_bytes, void** arguments);

// Calls `kernel` with as many arguments as it takes.
template <class Unit, class Kernel, std::size_t... I>
void call_with(Kernel kernel, void** arguments, std::index_sequence<I...> numbers) {
    static_assert(sizeof...(I) < 20, "no kernel takes so many arguments");
    if constexpr (requires { kernel((static_cast<void>(I), EmulatedArgument<Unit>{nullptr})...); })
        kernel(EmulatedArgument<Unit>{arguments[I]}...);
    else
        call_with<Unit>(kernel, arguments, std::make_index_sequence<numbers.size() + 1>());
}

} // namespace emulation

namespace {
struct EmulatedUnit;
}

// The kernel is declared after these lines: `Unit` makes the call wait for the end of the file.
#define KERNEL_OF(threads, name)                                                                                       \
    template <class Unit> static void name##_call(void** arguments) {                                                  \
        auto kernel = [](auto... a) -> decltype(name(a...)) { return name(a...); };                                    \
        emulation::call_with<Unit>(kernel, arguments, std::make_index_sequence<1>());                                  \
    }                                                                                                                  \
    static const emulation::Entry name##_entry(#name, name##_call<EmulatedUnit>, threads);                             \
    extern "C" void name
#define KERNEL(name) KERNEL_OF(0, name)
#define DEVICE static inline
#define DEVICE_MEMBER
#define SHARED(kind, name)                                                                                             \
    static const char name##_declared = 0;                                                                             \
    auto& name = *static_cast<Same<kind>*>(emulation::shared(&name##_declared, sizeof(Same<kind>)))
#define SHARED_DYNAMIC(name) unsigned char* const name = emulation::shared_dynamic()
#define UNROLL

#define threadIdx (emulation::place().thread)
#define blockIdx (emulation::place().block)
#define blockDim (emulation::place().block_size)
#define gridDim (emulation::place().grid)

#define EMULATION_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATION_SITE) { emulation::block_barrier({file, line}); }
inline void __syncwarp(uint32_t mask = ~0u, EMULATION_SITE) { emulation::warp_exchange(mask, nullptr, 0, {file, line}); }

namespace emulation {
template <class T> T shown(const Shown& lane) {
    T value;
    std::memcpy(&value, lane.bytes, sizeof(T));
    return value;
}
template <class T> T shuffle(uint32_t mask, T value, unsigned from, Site site) {
    static_assert(sizeof(T) <= 8);
    return shown<T>(warp_exchange(mask, &value, sizeof(T), site)[from]);
}
inline unsigned lane() { return place().thread.x % 32; }
} // namespace emulation

template <class T> T __shfl_sync(uint32_t mask, T value, unsigned from, unsigned width = 32, EMULATION_SITE) {
    const unsigned lane = emulation::lane();
    return emulation::shuffle(mask, value, lane / width * width + from % width, {file, line});
}
template <class T> T __shfl_xor_sync(uint32_t mask, T value, unsigned flip, unsigned width = 32, EMULATION_SITE) {
    const unsigned lane = emulation::lane(), other = lane ^ flip;
    return emulation::shuffle(mask, value, other / width > lane / width ? lane : other, {file, line});
}
template <class T> T __shfl_down_sync(uint32_t mask, T value, unsigned by, unsigned width = 32, EMULATION_SITE) {
    const unsigned lane = emulation::lane();
    return emulation::shuffle(mask, value, lane % width + by < width ? lane + by : lane, {file, line});
}
template <class T> T __shfl_up_sync(uint32_t mask, T value, unsigned by, unsigned width = 32, EMULATION_SITE) {
    const unsigned lane = emulation::lane();
    return emulation::shuffle(mask, value, lane % width >= by ? lane - by : lane, {file, line});
}
inline uint32_t __ballot_sync(uint32_t mask, int predicate, EMULATION_SITE) {
    const emulation::Shown* all = emulation::warp_exchange(mask, &predicate, sizeof(int), {file, line});
    uint32_t votes = 0;
    for (unsigned i = 0; i < 32; i++) votes |= uint32_t(emulation::shown<int>(all[i]) != 0) << i;
    return votes;
}
inline int __any_sync(uint32_t mask, int predicate, EMULATION_SITE) { return __ballot_sync(mask, predicate, file, line) != 0; }
inline int __all_sync(uint32_t mask, int predicate, EMULATION_SITE) { return __ballot_sync(mask, predicate, file, line) == ~0u; }

template <class T> T atomicAdd(T* at, T value) {
    if constexpr (std::is_integral_v<T>) {
        return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
    } else {
        T before;
        __atomic_load(at, &before, __ATOMIC_RELAXED);
        for (T after = before + value; !__atomic_compare_exchange(at, &before, &after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED);)
            after = before + value;
        return before;
    }
}
template <class T> T atomicMax(T* at, T value) {
    T before = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (before < value && !__atomic_compare_exchange_n(at, &before, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    return before;
}
template <class T> T atomicMin(T* at, T value) {
    T before = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (value < before && !__atomic_compare_exchange_n(at, &before, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    return before;
}
template <class T> T atomicOr(T* at, T value) { return __atomic_fetch_or(at, value, __ATOMIC_RELAXED); }
template <class T> T atomicAnd(T* at, T value) { return __atomic_fetch_and(at, value, __ATOMIC_RELAXED); }
template <class T> T atomicExch(T* at, T value) { return __atomic_exchange_n(at, value, __ATOMIC_RELAXED); }
template <class T> T atomicCAS(T* at, T expected, T value) {
    __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return expected;
}
// Orders like the device's: later writes are seen after earlier ones.
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#include "emulation_numbers.hpp"
#include "emulation_warpgroup.hpp"
