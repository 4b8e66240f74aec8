// Scale (as f32 bits, rounded to its storage type) and zero point of groups whose bounds are multiplied by trained
// factors: the full-range rule of src/scheme/range.rs.
// constants: WG
#include "part/exact.cuh"

struct Params { u32 groups, bits, symmetric, scale_type; };

KERNEL(fake_range)(const u32* bounds, const float* factors, u32* scales, u32* zeros, Params p, Variant) {
    const u32 g = thread_index();
    if (g >= p.groups) return;
    const float low = float_of(bounds[2 * g]) * factors[2 * g];
    const float high = float_of(bounds[2 * g + 1]) * factors[2 * g + 1];
    const u32 steps = (1u << p.bits) - 1, middle = 1u << (p.bits - 1);
    u32 zero = middle;
    float scale;
    if (p.symmetric == 1) {
        scale = stored_scale(-(-low > high ? low : high) / float(middle), p.scale_type);
    } else {
        const float below = fminf(low, 0.0f), above = fmaxf(high, 0.0f);
        scale = stored_scale(2.0f * divide_exact(above * 0.5f - below * 0.5f, steps), p.scale_type);
        zero = u32(clamp(nearest_integer(-below, scale, HALF_EVEN, 0.0f), 0, i32(steps)));
    }
    const bool fault = (bounds[2 * g] & 0x7f800000u) == 0x7f800000u;
    scales[g] = fault ? 0x7fc00000u : bits_of(scale);
    zeros[g] = fault ? middle : zero;
}
