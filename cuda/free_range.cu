// Scale (as f32 bits, rounded to its storage type) and zero point of groups that are trained by themselves.
// constants: WG
#include "part/exact.cuh"

struct Params { u32 groups, bits, symmetric, scale_type; };

KERNEL(free_range)(const float* start, const float* ranges, float* scales, u32* zeros, Params p, Variant) {
    const u32 g = thread_index();
    if (g >= p.groups) return;
    scales[g] = stored_scale(start[g] * ranges[2 * g], p.scale_type);
    const float most = float((1u << p.bits) - 1);
    const u32 nearest = u32(clamp(rintf(ranges[2 * g + 1]), 0.0f, most));
    zeros[g] = p.symmetric == 1 ? 1u << (p.bits - 1) : nearest;
}
