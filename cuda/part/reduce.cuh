// Sums and maxima over a block in a fixed order. A block is whole warps, and all its threads call these alike.
#pragma once
#include "part/prelude.cuh"

DEVICE float warp_sum(float value) {
    UNROLL for (u32 step = 16; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}

DEVICE float warp_max(float value) {
    UNROLL for (u32 step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, step));
    return value;
}

// Publishes a value of each warp; `parts` has room for 32.
DEVICE void share_by_warp(float* parts, float value) {
    // What an earlier call published has been read.
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
}

// The sum over the block, for each of its threads.
DEVICE float block_sum(float value) {
    SHARED(float[32], parts);
    share_by_warp(parts, warp_sum(value));
    float total = 0.0f;
    for (u32 i = 0; i < blockDim.x / 32; i++) total += parts[i];
    return total;
}

// The largest value of the block, for each of its threads.
DEVICE float block_max(float value) {
    SHARED(float[32], parts);
    share_by_warp(parts, warp_max(value));
    float most = parts[0];
    for (u32 i = 1; i < blockDim.x / 32; i++) most = fmaxf(most, parts[i]);
    return most;
}
