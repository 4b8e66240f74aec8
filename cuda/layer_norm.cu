// out = (x - mean) / sqrt(var + eps) * weight + bias, the variance in a pass of its own. One block a row.
// constants: WG
#include "part/reduce.cuh"

struct Params { u32 rows, cols; float eps; };

KERNEL(layer_norm)(const float* x, const float* weight, const float* bias, float* out, Params p, Variant) {
    const u32 row = block_index();
    if (row >= p.rows) return;
    const u32 start = row * p.cols;
    float sum = 0.0f;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) sum += x[start + col];
    const float mean = block_sum(sum) / float(p.cols);
    float squares = 0.0f;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) {
        const float centred = x[start + col] - mean;
        squares += centred * centred;
    }
    const float scale = rsqrtf(block_sum(squares) / float(p.cols) + p.eps);
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x)
        out[start + col] = (x[start + col] - mean) * scale * weight[col] + bias[col];
}
