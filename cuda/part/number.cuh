// Numbers in their storage types, elements of arrays of words.
#pragma once
#include "part/prelude.cuh"

// The f32 bits of an f16, subnormals and the payload of a NaN included.
DEVICE u32 f16_bits(u32 half) {
    const u32 size = half & 0x7fffu;
    u32 bits = (size << 13) + 0x38000000u;
    if (size < 0x0400u) bits = bits_of(float(size) * (1.0f / 16777216.0f));
    if (size >= 0x7c00u) bits = (size << 13) | 0x7f800000u;
    return bits | ((half & 0x8000u) << 16);
}

// The f32 bits of a bf16.
DEVICE u32 bf16_bits(u32 half) { return half << 16; }

// The 16 bits of element i.
DEVICE u32 half_at(const u32* words, u32 i) { return reinterpret_cast<const u16*>(words)[i]; }

// The f32 bits of element i, stored as `type`.
DEVICE u32 element_bits(const u32* words, u32 i, u32 type) {
    if (type == F16) return f16_bits(half_at(words, i));
    if (type == BF16) return bf16_bits(half_at(words, i));
    return words[i];
}

// Element i, stored as `type`.
DEVICE float element(const u32* words, u32 i, u32 type) { return float_of(element_bits(words, i, type)); }

// Eight neighbours.
struct Eight { float at[8]; };

// Elements i to i + 7; i is a multiple of 8.
DEVICE Eight eight_elements(const u32* words, u32 i, u32 type) {
    Eight eight;
    if (type == F32) {
        const float4* four = reinterpret_cast<const float4*>(words) + i / 4;
        const float4 low = four[0], high = four[1];
        return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
    }
    const uint4 all = reinterpret_cast<const uint4*>(words)[i / 8];
    const u32 pairs[4] = {all.x, all.y, all.z, all.w};
    UNROLL for (u32 k = 0; k < 4; k++) {
        const u32 low = pairs[k] & 0xffffu, high = pairs[k] >> 16;
        eight.at[2 * k] = float_of(type == F16 ? f16_bits(low) : bf16_bits(low));
        eight.at[2 * k + 1] = float_of(type == F16 ? f16_bits(high) : bf16_bits(high));
    }
    return eight;
}

// Writes eight f32 at a multiple of four.
DEVICE void store_eight(float* to, const Eight& eight) {
    float4* four = reinterpret_cast<float4*>(to);
    four[0] = make_float4(eight.at[0], eight.at[1], eight.at[2], eight.at[3]);
    four[1] = make_float4(eight.at[4], eight.at[5], eight.at[6], eight.at[7]);
}

// Elements i to i + 7 of f32; i is a multiple of 8.
DEVICE Eight eight_floats(const float* from, u32 i) { return eight_elements(reinterpret_cast<const u32*>(from), i, F32); }
