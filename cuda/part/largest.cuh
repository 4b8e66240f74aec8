// The place of the largest f32 of a block, compared as integers.
#pragma once
#include "part/reduce.cuh"

// Loses against every candidate.
constexpr u64 NOTHING_LARGE = 0;

// An integer that orders as the f32 with these bits does, both zeros being equal; below it, so that the lower index wins
// among equals, the index inverted.
DEVICE u64 candidate(u32 bits, u32 index) {
    const u32 order = bits <= 0x80000000u ? bits | 0x80000000u : ~bits;
    return (u64(order) << 32) | ~index;
}

// The index of the largest candidate of the block.
DEVICE u32 block_largest(u64 candidate) { return ~u32(block_reduce(candidate, Most())); }
