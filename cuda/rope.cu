// Elements i and i + head_dim / 2 of each head turned by the table's angle for pair i. One thread a pair.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 sequences, tokens, heads, head_dim, first_position, out_capacity, out_first; float direction; };

KERNEL(rope)(const float* x, const float2* table, float* out, Params p, Variant) {
    const u32 i = thread_index(), half = p.head_dim / 2;
    const u32 row = i / (p.heads * half);
    if (row >= p.sequences * p.tokens) return;
    const u32 head = i / half % p.heads, pair = i % half, token = row % p.tokens;
    const u32 slot = row / p.tokens * p.out_capacity + p.out_first + token;
    const float2 turn = table[(p.first_position + token) * half + pair];
    const float cosine = turn.x, sine = turn.y * p.direction;
    const u32 at = (row * p.heads + head) * p.head_dim + pair, to = (slot * p.heads + head) * p.head_dim + pair;
    const float a = x[at], b = x[at + half];
    out[to] = a * cosine - b * sine;
    out[to + half] = b * cosine + a * sine;
}
