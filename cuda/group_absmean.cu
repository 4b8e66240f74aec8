// scale = sum(|w|) / count + eps of each group of a row. One block a group.
// constants: WG
#include "part/reduce.cuh"

struct Params { u32 rows, cols, group, groups_per_row; float eps; };

KERNEL(group_absmean)(const float* w, float* scales, Params p, Variant) {
    const u32 g = block_index();
    if (g >= p.rows * p.groups_per_row) return;
    const u32 col = g % p.groups_per_row * p.group, start = g / p.groups_per_row * p.cols + col;
    const u32 length = min(p.group, p.cols - col);
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < length; i += blockDim.x) sum += fabsf(w[start + i]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) scales[g] = sum / float(length) + p.eps;
}
