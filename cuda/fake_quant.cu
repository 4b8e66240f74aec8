// out = (code - zero) * scale with code = clamp(round(w / scale + offset) + zero, 0, 2^bits - 1).
// constants: WG
#include "part/exact.cuh"
#include "part/number.cuh"

struct Params { u32 rows, cols, group, groups_per_row, bits; };

KERNEL(fake_quant)(const u32* w, const float* offsets, const float* scales, const u32* zeros, float* out, Params p, Variant v) {
    const u32 i = thread_index();
    if (i >= p.rows * p.cols) return;
    const u32 g = i / p.cols * p.groups_per_row + i % p.cols / p.group;
    const i32 zero = i32(zeros[g]);
    const i32 code = clamp(nearest_shifted(element(w, i, v.weight), scales[g], offsets[i]) + zero, 0, (1 << p.bits) - 1);
    out[i] = float(code - zero) * scales[g];
}
