// d_x = r * (g - z * mean(g * z)), z = x * r, g = d_y * weight; stats = (0, r), as layer_norm_backward's. One block a row.
// constants: WG
#include "part/reduce.cuh"

struct Params { u32 rows, cols; float eps; };

KERNEL(rms_norm_backward)(const float* x, const float* weight, const float* d_y, float* d_x, float* stats, Params p, Variant) {
    const u32 row = block_index();
    if (row >= p.rows) return;
    const u32 start = row * p.cols;
    const float cols = float(p.cols);
    float squares = 0.0f;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) squares += x[start + col] * x[start + col];
    const float r = rsqrtf(block_sum(squares) / cols + p.eps);
    float products = 0.0f;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) {
        const float g = d_y[start + col] * weight[col];
        products += g * x[start + col] * r;
    }
    const float along = block_sum(products) / cols;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) {
        const float z = x[start + col] * r;
        d_x[start + col] = r * (d_y[start + col] * weight[col] - z * along);
    }
    if (threadIdx.x > 0) return;
    stats[2 * row] = 0.0f;
    stats[2 * row + 1] = r;
}
