// out[t * cols + col] = table[(ids[t] - first_row) * cols + col] for ids of this table or part; others are left alone.
// constants: WG
#include "part/number.cuh"

struct Params { u32 tokens, first_row, rows, cols; };

KERNEL(embed)(const u32* ids, const u32* table, u32* out, Params p, Variant v) {
    const u32 i = thread_index();
    if (i >= p.tokens * p.cols) return;
    // Below first_row the difference wraps round to a large number.
    const u32 row = ids[i / p.cols] - p.first_row;
    if (row < p.rows) out[i] = element_bits(table, row * p.cols + i % p.cols, v.weight);
}
