// out = x / sqrt(mean(x^2) + eps) * weight. One block a row.
// constants: WG
#include "part/reduce.cuh"

struct Params { u32 rows, cols; float eps; };

KERNEL(rms_norm)(const float* x, const float* weight, float* out, Params p, Variant) {
    const u32 row = block_index();
    if (row >= p.rows) return;
    const u32 start = row * p.cols;
    float squares = 0.0f;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) squares += x[start + col] * x[start + col];
    const float scale = rsqrtf(block_sum(squares) / float(p.cols) + p.eps);
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) out[start + col] = x[start + col] * scale * weight[col];
}
