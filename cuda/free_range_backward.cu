// Gradients of the ranges of free_range; see src/kernel/free_range_backward.rs.
// constants: WG
#include "part/exact.cuh"

struct Params { u32 groups, bits, symmetric, scale_type; };

KERNEL(free_range_backward)(const float* start, const float* scales, const float* sums, float* d_ranges, Params p, Variant) {
    const u32 g = thread_index();
    if (g >= p.groups) return;
    const bool floored = fabsf(scales[g]) <= smallest_scale(p.scale_type);
    d_ranges[2 * g] = floored ? 0.0f : sums[2 * g] * start[g];
    d_ranges[2 * g + 1] = p.symmetric == 1 ? 0.0f : sums[2 * g + 1];
}
