// y[token, row] -= f32(zeros[token]) * scales[token] * row_sums[row].
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 tokens, rows; };

KERNEL(zero_point_correct)(float* y, const float* scales, const i32* zeros, const float* row_sums, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.tokens * p.rows) return;
    const u32 token = i / p.rows;
    y[i] -= float(zeros[token]) * scales[token] * row_sums[i % p.rows];
}
