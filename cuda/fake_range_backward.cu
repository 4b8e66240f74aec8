// Gradients of the factors of fake_range from the sums of fake_quant_backward, straight through the rounding of scale
// and zero point; see src/kernel/fake_range_backward.rs.
// constants: WG
#include "part/exact.cuh"

struct Params { u32 groups, bits, symmetric, scale_type; };

KERNEL(fake_range_backward)(const float* bounds, const float* factors, const float* scales, const float* sums,
                            float* d_factors, Params p, Variant) {
    const u32 g = thread_index();
    if (g >= p.groups) return;
    float low = bounds[2 * g], high = bounds[2 * g + 1];
    const float scale = scales[g];
    const bool floored = fabsf(scale) <= smallest_scale(p.scale_type);
    float d_scale = sums[2 * g], d_low, d_high;
    if (p.symmetric == 1) {
        const float d_extreme = floored ? 0.0f : -d_scale / float(1u << (p.bits - 1));
        const bool takes_low = -(low * factors[2 * g]) > high * factors[2 * g + 1];
        d_low = takes_low ? d_extreme : 0.0f;
        d_high = takes_low ? 0.0f : d_extreme;
    } else {
        low = fminf(low, 0.0f);
        high = fmaxf(high, 0.0f);
        const float d_zero = sums[2 * g + 1];
        d_scale += d_zero * (low * factors[2 * g] / scale) / scale;
        const float step = floored ? 0.0f : d_scale / float((1u << p.bits) - 1);
        d_low = -step - d_zero / scale;
        d_high = step;
    }
    d_factors[2 * g] = d_low * low;
    d_factors[2 * g + 1] = d_high * high;
}
