// out = x + share * scale of its group * (u - 1/2), u being a number in (0, 1) drawn from seed and position.
// constants: WG
#include "part/exact.cuh"

struct Params { u32 count, cols, group, groups_per_row; float share; u32 seed; };

KERNEL(weight_noise)(const float* x, const float* scales, float* out, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.count) return;
    const u32 group = i / p.cols * p.groups_per_row + i % p.cols / p.group;
    out[i] = x[i] + p.share * scales[group] * (uniform_at(p.seed, i) - 0.5f);
}
