// d_weight[col] = sum over rows of d_y * (x - mean) * r; stats = (mean, r) of each row. One thread a column.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 rows, cols; };

KERNEL(norm_weight_backward)(const float* x, const float* d_y, const float* stats, float* d_weight, Params p, Variant) {
    const u32 col = thread_index();
    if (col >= p.cols) return;
    float sum = 0.0f;
    for (u32 row = 0; row < p.rows; row++) {
        const u32 i = row * p.cols + col;
        sum += d_y[i] * (x[i] - stats[2 * row]) * stats[2 * row + 1];
    }
    d_weight[col] = sum;
}
