// out[row, col] = x[row, columns[col]].
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 rows, cols; };

KERNEL(gather_columns)(const float* x, const u32* columns, float* out, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.rows * p.cols) return;
    const u32 col = i % p.cols;
    out[i] = x[i - col + columns[col]];
}
