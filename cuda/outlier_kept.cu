// y[token, row] += sum over flagged columns of x[token, col] * w[row, col], in f32 and in the order of the columns.
// constants: WG
#include "part/number.cuh"

struct Params { u32 batch, rows, cols, out_offset, out_stride; };

KERNEL(outlier_kept)(const float* x, const u32* flags, const u32* w, float* y, Params p, Variant v) {
    const u32 i = thread_index();
    if (i >= p.batch * p.rows) return;
    const u32 token = i / p.rows, row = i % p.rows;
    float sum = 0.0f;
    for (u32 col = 0; col < p.cols; col++)
        if (flags[col] != 0) sum += x[token * p.cols + col] * element(w, row * p.cols + col, v.weight);
    y[token * p.out_stride + p.out_offset + row] += sum;
}
