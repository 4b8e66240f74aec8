// cache[sequence, first + token, col] = x[sequence * tokens + token, col].
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 sequences, tokens, cols, capacity, first; };

KERNEL(store_rows)(const u32* x, u32* cache, Params p, Variant) {
    const u32 i = thread_index(), block = p.tokens * p.cols;
    if (i >= p.sequences * block) return;
    cache[(i / block * p.capacity + p.first) * p.cols + i % block] = x[i];
}
