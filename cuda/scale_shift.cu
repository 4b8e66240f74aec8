// out[row, col] = x[row, col] * scale[col] + shift[col].
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 rows, cols; };

KERNEL(scale_shift)(const float* x, const float* scale, const float* shift, float* out, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.rows * p.cols) return;
    out[i] = x[i] * scale[i % p.cols] + shift[i % p.cols];
}
