// d_table[row, col] = sum of d_y[places[k], col] for k in starts[row] .. starts[row + 1]. One thread an element.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 rows, cols; };

KERNEL(embed_backward)(const u32* starts, const u32* places, const float* d_y, float* d_table, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.rows * p.cols) return;
    const u32 row = i / p.cols, col = i % p.cols;
    float sum = 0.0f;
    for (u32 k = starts[row]; k < starts[row + 1]; k++) sum += d_y[places[k] * p.cols + col];
    d_table[i] = sum;
}
