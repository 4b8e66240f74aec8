// Who sees which keys, and where those lie; src/kernel/attention.rs says what the numbers mean.
#pragma once
#include "part/prelude.cuh"

struct Attention { u32 sequences, tokens, heads, kv_heads, head_dim, past, capacity; float scale; u32 window; };

// Most features of a head, and most keys of a chunk.
constexpr u32 MOST_HEAD_DIM = 256, MOST_KEYS = 64;
// Below every score, and still finite when the largest score is taken from it.
constexpr float LOWEST = -3.0e38f;

// The first position that a query at `position` sees.
DEVICE u32 first_seen(const Attention& p, u32 position) {
    return p.window != 0 && position >= p.window ? position + 1 - p.window : 0;
}

// Where the first key of the sequence and of the head's key head lies.
DEVICE u32 first_key(const Attention& p, u32 row, u32 head) {
    return row / p.tokens * p.capacity * p.kv_heads * p.head_dim + head / (p.heads / p.kv_heads) * p.head_dim;
}

// The product of a vector in shared memory and one of `length` numbers elsewhere.
DEVICE float dot(const float* shared, const float* global, u32 length) {
    float sum = 0.0f;
    if (length % 4 == 0) {
        for (u32 d = 0; d < length; d += 4) {
            const float4 a = *reinterpret_cast<const float4*>(shared + d), b = *reinterpret_cast<const float4*>(global + d);
            sum += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
        }
    } else {
        for (u32 d = 0; d < length; d++) sum += shared[d] * global[d];
    }
    return sum;
}
