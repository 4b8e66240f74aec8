// Per row the sum of (y - target)^2; d_y = factor * (y - target). One block a row.
// constants: WG
#include "part/reduce.cuh"

struct Params { u32 rows, cols; float factor; };

KERNEL(squared_error)(const float* y, const float* expected, float* d_y, float* sums, Params p, Variant) {
    const u32 row = block_index();
    if (row >= p.rows) return;
    float sum = 0.0f;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) {
        const u32 i = row * p.cols + col;
        const float difference = y[i] - expected[i];
        d_y[i] = p.factor * difference;
        sum += difference * difference;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[row] = sum;
}
