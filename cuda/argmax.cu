// Index of the largest value of each row, the lowest such index on ties. One block a row.
// constants: WG
#include "part/largest.cuh"

struct Params { u32 rows, cols; };

KERNEL_OF(1024, argmax)(const u32* values, u32* indices, Params p, Variant) {
    const u32 row = block_index();
    if (row >= p.rows) return;
    u64 best = NOTHING_LARGE;
    for (u32 i = threadIdx.x; i < p.cols; i += blockDim.x) best = max(best, candidate(values[row * p.cols + i], i));
    const u32 index = block_largest(best);
    if (threadIdx.x == 0) indices[row] = index;
}
