// d_x = r * (g - mean(g) - z * mean(g * z)), z = (x - mean) * r, g = d_y * weight; stats = (mean, r). One block a row.
// constants: WG
#include "part/reduce.cuh"

struct Params { u32 rows, cols; float eps; };

KERNEL(layer_norm_backward)(const float* x, const float* weight, const float* d_y, float* d_x, float* stats, Params p, Variant) {
    const u32 row = block_index();
    if (row >= p.rows) return;
    const u32 start = row * p.cols;
    const float cols = float(p.cols);
    float sum = 0.0f;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) sum += x[start + col];
    const float mean = block_sum(sum) / cols;
    float squares = 0.0f;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) {
        const float centred = x[start + col] - mean;
        squares += centred * centred;
    }
    const float r = rsqrtf(block_sum(squares) / cols + p.eps);
    float products = 0.0f, gradients = 0.0f;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) {
        const float g = d_y[start + col] * weight[col];
        gradients += g;
        products += g * (x[start + col] - mean) * r;
    }
    const float along = block_sum(products) / cols, shift = block_sum(gradients) / cols;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) {
        const float z = (x[start + col] - mean) * r;
        d_x[start + col] = r * (d_y[start + col] * weight[col] - shift - z * along);
    }
    if (threadIdx.x > 0) return;
    stats[2 * row] = mean;
    stats[2 * row + 1] = r;
}
