// What every kernel starts from: short names of numbers, the entry of a kernel, its variant, its place in the grid.
// Built by NVRTC, which offers CUDA's own functions without headers, or with HOST by a C++ compiler, for which
// tests/cuda/emulation.hpp stands in.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i8 = signed char;
using i32 = int;
using i64 = long long;

template <class T> using Same = T;

#ifdef HOST
#include "emulation.hpp"
#else
// KERNEL(name)(arguments) { ... }; KERNEL_OF also says the most threads that a block has, KERNEL_ALONE that it need not share
// a processor with another block, which lets its warps hand registers to each other.
#define KERNEL(name) extern "C" __global__ void name
#define KERNEL_OF(threads, name) extern "C" __global__ void __launch_bounds__(threads) name
#define KERNEL_ALONE(threads, name) extern "C" __global__ void __launch_bounds__(threads, 1) name
// A function of the device.
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
// Memory of a block: SHARED(float[64], parts).
#define SHARED(kind, name) __shared__ __align__(16) Same<kind> name
// The memory that the launch asks for, as bytes.
#define SHARED_DYNAMIC(name) extern __shared__ __align__(128) u8 name[]
#define UNROLL _Pragma("unroll")
#endif

// How one kernel differs from call to call; 0 where the variant has no such part. The order of `constants` stands in
// each kernel's file.
struct Variant {
    u32 weight, activation, scale, codes, zero, function, slope, reserved;
    u32 constants[4];
};

// Storage types, as `weight`, `activation` and `scale` name them.
constexpr u32 F32 = 1, F16 = 2, BF16 = 3;
// Layouts of codes.
constexpr u32 DENSE = 1, DENSE3 = 2, QUADS = 3;
// Zero points: the middle code, or one a byte.
constexpr u32 MIDDLE = 1, BYTE = 2;
// Functions and their slopes.
constexpr u32 SILU = 1, GELU = 2, GELU_TANH = 3, RELU = 4, RELU2 = 5, SIGMOID = 6;

// All lanes of a warp take part.
constexpr u32 ALL_LANES = 0xffffffffu;

// The number of the block in a grid of two axes.
DEVICE u32 block_index() { return blockIdx.y * gridDim.x + blockIdx.x; }

// The number of the thread in the grid.
DEVICE u32 thread_index() { return block_index() * blockDim.x + threadIdx.x; }

// All threads of the grid.
DEVICE u32 thread_count() { return gridDim.x * gridDim.y * blockDim.x; }

DEVICE i32 clamp(i32 value, i32 low, i32 high) { return min(max(value, low), high); }
DEVICE u32 clamp(u32 value, u32 low, u32 high) { return min(max(value, low), high); }
DEVICE float clamp(float value, float low, float high) { return fminf(fmaxf(value, low), high); }

// The bits of a number and the number of bits.
DEVICE u32 bits_of(float value) { return __float_as_uint(value); }
DEVICE float float_of(u32 bits) { return __uint_as_float(bits); }
