// Scale (as f32 bits, rounded to its storage type) and zero point of each group of a weight, by a range rule:
// 0 full-range, 1 2n-1, 2 restricted, 3 raw; see src/scheme/range.rs. LANES threads share a group.
// constants: WG LANES
#include "part/bounds.cuh"
#include "part/exact.cuh"

struct Params { u32 rows, cols, group, groups_per_row, bits, symmetric, rule, scale_type; };

// The scale around 0 in which both ends are codes.
DEVICE float symmetric_scale(const Params& p, float low, float high) {
    const u32 steps = (1u << p.bits) - 1;
    const float extreme = -low > high ? low : high;
    if (p.rule == 1) return 4.0f * divide_exact(fabsf(extreme) * 0.5f, steps);
    if (p.rule == 2) return divide_exact(fabsf(extreme), steps / 2);
    return -extreme / float(1u << (p.bits - 1));
}

KERNEL(group_range)(const u32* w, u32* scales, u32* zeros, Params p, Variant v) {
    const u32 lanes = v.constants[1];
    const u32 g = thread_index() / lanes;
    const bool inside = g < p.rows * p.groups_per_row;
    const u32 col = inside ? g % p.groups_per_row * p.group : 0, start = inside ? g / p.groups_per_row * p.cols + col : 0;
    const Bounds bounds = group_bounds_of(w, start, inside ? min(p.group, p.cols - col) : 0, v.weight, lanes);
    if (threadIdx.x % lanes != 0 || !inside) return;
    const u32 steps = (1u << p.bits) - 1, middle = 1u << (p.bits - 1);
    float low = bounds.low, high = bounds.high, scale;
    u32 zero = middle;
    if (p.symmetric == 1) {
        scale = stored_scale(symmetric_scale(p, low, high), p.scale_type);
    } else {
        if (p.rule != 3) {
            low = fminf(low, 0.0f);
            high = fmaxf(high, 0.0f);
        }
        scale = stored_scale(2.0f * divide_exact(high * 0.5f - low * 0.5f, steps), p.scale_type);
        zero = u32(clamp(nearest_integer(-low, scale, HALF_EVEN, 0.0f), 0, i32(steps)));
    }
    const bool fault = bounds.fault != 0;
    scales[g] = fault ? bounds.fault | 0x7fc00000u : bits_of(scale);
    zeros[g] = fault ? middle : zero;
}
