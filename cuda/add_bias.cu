// x[row, col] += bias[col].
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 rows, cols; };

KERNEL(add_bias)(float* x, const float* bias, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.rows * p.cols) return;
    x[i] += bias[i % p.cols];
}
