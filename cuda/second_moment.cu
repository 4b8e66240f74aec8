// out[col] = sum over rows of x[row, col]^2, or that added to what is there. One thread a column.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 rows, cols, accumulate; };

KERNEL(second_moment)(const float* x, float* out, Params p, Variant) {
    const u32 col = thread_index();
    if (col >= p.cols) return;
    float sum = 0.0f;
    for (u32 row = 0; row < p.rows; row++) sum += x[row * p.cols + col] * x[row * p.cols + col];
    out[col] = p.accumulate == 1 ? out[col] + sum : sum;
}
