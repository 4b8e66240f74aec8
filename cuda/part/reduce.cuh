// Sums, maxima and the like over a block or over neighbouring threads, in a fixed order. A block is whole warps, all its
// threads call these alike, and each gets the result.
#pragma once
#include "part/prelude.cuh"

// Over each `lanes` neighbours, a power of two of at most 32.
template <class T, class Join> DEVICE T warp_reduce(T value, u32 lanes, Join join) {
    for (u32 step = lanes / 2; step > 0; step /= 2) value = join(value, __shfl_xor_sync(ALL_LANES, value, step));
    return value;
}

// Over the block.
template <class T, class Join> DEVICE T block_reduce(T value, Join join) {
    SHARED(T[32], parts);
    value = warp_reduce(value, 32, join);
    // What an earlier call left here has been read.
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    T all = parts[0];
    for (u32 i = 1; i < blockDim.x / 32; i++) all = join(all, parts[i]);
    return all;
}

// Over each `lanes` neighbours: some of a warp, or the block.
template <class T, class Join> DEVICE T lanes_reduce(T value, u32 lanes, Join join) {
    return lanes == blockDim.x ? block_reduce(value, join) : warp_reduce(value, lanes, join);
}

struct Sum {
    template <class T> DEVICE_MEMBER T operator()(T a, T b) const { return a + b; }
};
struct Most {
    template <class T> DEVICE_MEMBER T operator()(T a, T b) const { return max(a, b); }
};
struct Least {
    template <class T> DEVICE_MEMBER T operator()(T a, T b) const { return min(a, b); }
};
struct Or {
    template <class T> DEVICE_MEMBER T operator()(T a, T b) const { return a | b; }
};

DEVICE float block_sum(float value) { return block_reduce(value, Sum()); }
DEVICE float block_max(float value) { return block_reduce(value, Most()); }
