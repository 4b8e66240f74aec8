// Scale (as f32 bits, rounded to its storage type) and zero point of each group of a weight: of a grid those with the least
// weighted squared error, its part along the weight counted three times. LANES threads share a group; each takes every
// LANES-th candidate and sums its error over the group alone, each product and sum rounded by itself, so that sums are the
// same everywhere; see src/kernel/group_search.rs.
// constants: WG LANES
#include "part/exact.cuh"
#include "part/number.cuh"
#include "part/reduce.cuh"

struct Params { u32 rows, cols, group, groups_per_row, bits, symmetric, scale_type, first, step, count, mask; };

constexpr float LEAST = 1.0f / 1099511627776.0f;
constexpr float LEAST_ALONG = 1.0f / 1125899906842624.0f;

struct Candidate { float scale; i32 zero; };

DEVICE Candidate candidate(const Params& p, u32 index, float base, i32 zero) {
    const u32 ways = p.symmetric == 1 ? 2 : 5, way = index % ways;
    const float factor = float(p.first + index / ways * p.step) * (1.0f / 512.0f);
    const float scale = base * factor;
    if (p.symmetric == 1) return {stored_scale(way == 0 ? scale : -scale, p.scale_type), zero};
    // 0, -1, 1, -2, 2
    const i32 shift = way % 2 == 0 ? i32(way / 2) : -i32((way + 1) / 2);
    return {stored_scale(scale, p.scale_type), clamp(zero + shift, 0, (1 << p.bits) - 1)};
}

DEVICE bool is_finite(float value) { return (bits_of(value) & 0x7f800000u) != 0x7f800000u; }

DEVICE float product(float a, float b) { return __fmul_rn(a, b); }
DEVICE float sum(float a, float b) { return __fadd_rn(a, b); }

KERNEL(group_search)(const u32* w, const float* importance, u32* scales, u32* zeros, Params p, Variant v) {
    const u32 lanes = v.constants[1], g = thread_index() / lanes, lane = threadIdx.x % lanes;
    const bool inside = g < p.rows * p.groups_per_row;
    const u32 ways = p.symmetric == 1 ? 2 : 5;
    const i32 steps_up = (1 << p.bits) - 1;
    float low = 0.0f, high = 0.0f, base = 0.0f;
    bool fault = false;
    i32 zero = 1 << (p.bits - 1);
    // The least error so far and its candidate, ordered as one number: errors are not negative.
    u64 best = u64(bits_of(3.4028234e38f)) << 32;
    if (inside) {
        const u32 col = g % p.groups_per_row * p.group, start = g / p.groups_per_row * p.cols + col;
        const u32 length = min(p.group, p.cols - col);
        const float* weights = importance + col;
        for (u32 i = 0; i < length; i++) {
            const float value = element(w, start + i, v.weight);
            fault = fault || !is_finite(value);
            low = fminf(low, value);
            high = fmaxf(high, value);
        }
        const bool negative = -low > high;
        const float largest = negative ? -low : high;
        const float unit = float_of((254 - clamp(bits_of(largest) >> 23, 27u, 227u)) << 23);
        if (p.symmetric == 1) {
            base = largest / float(1u << (p.bits - 1));
            if (!negative) base = -base;
        } else {
            base = 2.0f * divide_exact(high * 0.5f - low * 0.5f, u32(steps_up));
            zero = clamp(nearest_integer(-low, stored_scale(base, p.scale_type), HALF_EVEN, 0.0f), 0, steps_up);
        }
        float energy = 0.0f;
        for (u32 i = 0; i < length; i++) {
            const float value = product(element(w, start + i, v.weight), unit);
            energy = sum(energy, product(product(weights[i], value), value));
        }
        for (u32 index = lane; index < p.count * ways; index += lanes) {
            const Candidate tried = candidate(p, index, base, zero);
            if (fault || !is_finite(tried.scale)) continue;
            const float step = product(tried.scale, unit), inverse = 1.0f / tried.scale;
            float error = 0.0f, along = 0.0f;
            for (u32 i = 0; i < length; i++) {
                const float value = element(w, start + i, v.weight), scaled = product(value, unit);
                const i32 nearest = nearest_integer_by(value, tried.scale, inverse, HALF_EVEN);
                const float steps = float(clamp(nearest, -tried.zero, steps_up - tried.zero));
                float difference = sum(scaled, -product(step, steps));
                if (fabsf(difference) < LEAST) difference = 0.0f;
                const float weighted = product(weights[i], difference);
                error = sum(error, product(weighted, difference));
                along = sum(along, product(weighted, scaled));
            }
            if (fabsf(along) < LEAST_ALONG) along = 0.0f;
            error = sum(product(error, energy), product(product(2.0f, along), along));
            if (error < float_of(u32(best >> 32))) best = (u64(bits_of(error)) << 32) | index;
        }
    }
    best = lanes_reduce(best, lanes, Least());
    if (lane != 0 || !inside) return;
    const Candidate found = candidate(p, u32(best), base, zero);
    scales[g] = fault ? 0x7fc00000u : bits_of(found.scale);
    zeros[g] = fault ? 1u << (p.bits - 1) : u32(found.zero);
}
