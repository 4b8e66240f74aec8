// out[col] = sum over rows of x[row, col]. One thread a column.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 rows, cols; };

KERNEL(column_sum)(const float* x, float* out, Params p, Variant) {
    const u32 col = thread_index();
    if (col >= p.cols) return;
    float sum = 0.0f;
    for (u32 row = 0; row < p.rows; row++) sum += x[row * p.cols + col];
    out[col] = sum;
}
