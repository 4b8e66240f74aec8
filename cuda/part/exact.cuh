// Quotients and roundings that come out the same on every device; src/scheme/exact.rs is their twin. No product here is
// added to anything, so that nothing can be fused into another rounding.
#pragma once
#include "part/prelude.cuh"

// value / divisor correctly rounded; value >= 0, divisor in 1..=255, subnormal results become 0.
DEVICE float divide_exact(float value, u32 divisor) {
    const u32 bits = bits_of(value);
    if (bits >> 23 == 0) return 0.0f;
    const u32 significand = ((bits & 0x007fffffu) | 0x00800000u) << 8;
    u32 quotient = significand / divisor;
    const u32 remainder = significand - quotient * divisor;
    // The significand has 24 bits and the divisor at most 8, so the quotient has between 24 and 32.
    const u32 excess = 8 - __clz(quotient);
    const u32 dropped = quotient & ((1u << excess) - 1);
    quotient >>= excess;
    // Twice what was dropped against one unit of what is kept, the remainder breaking ties.
    const u32 twice = excess == 0 ? 2 * remainder : (dropped << 1) | u32(remainder != 0);
    const u32 unit = excess == 0 ? divisor : 1u << excess;
    quotient += u32(twice > unit || (twice == unit && (quotient & 1) == 1));
    const u32 exponent = (bits >> 23) + excess - 8 + (quotient >> 24);
    if (i32(exponent) <= 0) return 0.0f;
    const u32 fraction = quotient >> 24 == 1 ? 0 : quotient & 0x007fffffu;
    return float_of((exponent << 23) | fraction);
}

// The sign of value - scale * twice / 2 where the rounded product equals value, from the significands modulo 2^32.
DEVICE i32 side_of_middle(float value, float scale, i32 twice) {
    const u32 value_bits = bits_of(value), scale_bits = bits_of(scale);
    const u32 shift = (((value_bits >> 23) & 255) - ((scale_bits >> 23) & 255) + 1) & 31;
    const u32 product = ((scale_bits & 0x007fffffu) | 0x00800000u) * u32(abs(twice));
    const u32 difference = (((value_bits & 0x007fffffu) | 0x00800000u) << shift) - product;
    return i32(value < 0.0f ? 0 - difference : difference);
}

// Ways to round.
constexpr u32 HALF_EVEN = 0, HALF_AWAY = 1, STOCHASTIC = 2;

// value / scale as an integer; `chance` in (0, 1) is for STOCHASTIC.
DEVICE i32 nearest_integer(float value, float scale, u32 rounding, float chance) {
    if (scale < 0.0f) value = -value;
    scale = fabsf(scale);
    float low = floorf(clamp(value / scale, -1024.0f, 1024.0f));
    // A quotient may be off by a unit in the last place, so the first guess by one.
    if (scale * low > value) low -= 1.0f;
    if (scale * (low + 1.0f) <= value) low += 1.0f;
    bool up;
    if (rounding == STOCHASTIC) {
        // The first test keeps exact multiples where they are: low + chance may round to low.
        up = value > scale * low && value >= scale * (low + chance);
    } else {
        const float middle = scale * (low + 0.5f);
        const bool tie_up = rounding == HALF_EVEN ? (i32(low) & 1) == 1 : value >= 0.0f;
        const i32 side = value == middle ? side_of_middle(value, scale, 2 * i32(low) + 1) : 0;
        up = value > middle || (value == middle && (side > 0 || (side == 0 && tie_up)));
    }
    return clamp(i32(low) + i32(up), -1024, 1024);
}

// value / scale + offset as an integer, half to even; with an offset of 0 what `nearest_integer` gives.
DEVICE i32 nearest_shifted(float value, float scale, float offset) {
    if (scale < 0.0f) value = -value;
    scale = fabsf(scale);
    float low = floorf(clamp(value / scale + offset, -1024.0f, 1024.0f));
    if (scale * (low - offset) > value) low -= 1.0f;
    if (scale * (low + 1.0f - offset) <= value) low += 1.0f;
    const float middle = scale * (low + 0.5f - offset);
    const bool exact = value == middle && offset == 0.0f;
    const i32 side = exact ? side_of_middle(value, scale, 2 * i32(low) + 1) : 0;
    const bool up = value > middle || (value == middle && (side > 0 || (side == 0 && (i32(low) & 1) == 1)));
    return clamp(i32(low) + i32(up), -1024, 1024);
}

// Whether an approximate quotient lies so far from every tie that rounding it cannot err: it is off by a few parts in
// 2^24, that is by less than 0.0005 below 1000.
DEVICE bool is_clear(float quotient, float nearest) {
    return fabsf(quotient - nearest) < 0.499f && fabsf(quotient) < 1000.0f;
}

// `nearest_integer` half to even or away, quick where the quotient by `inverse`, which is 1 / scale, is clear.
DEVICE i32 nearest_integer_by(float value, float scale, float inverse, u32 rounding) {
    const float quotient = value * inverse, nearest = rintf(quotient);
    if (is_clear(quotient, nearest)) return i32(nearest);
    return nearest_integer(value, scale, rounding, 0.0f);
}

// The same of `nearest_shifted`.
DEVICE i32 nearest_shifted_by(float value, float scale, float inverse, float offset) {
    const float quotient = value * inverse + offset, nearest = rintf(quotient);
    if (is_clear(quotient, nearest)) return i32(nearest);
    return nearest_shifted(value, scale, offset);
}

// A number in (0, 1) from a seed and a position.
DEVICE float uniform_at(u32 seed, u32 position) {
    u32 h = (position * 0x9e3779b1u) ^ (seed * 0x85ebca77u) ^ 0x27d4eb2fu;
    h = (h ^ (h >> 15)) * 0x2c1b3c6du;
    h = (h ^ (h >> 13)) * 0x2c1b3c6du;
    h = h ^ (h >> 16);
    return (float(h >> 9) + 0.5f) * (1.0f / 8388608.0f);
}

// value rounded to a storage type, half to even. storage: 0 f32, 1 f16, 2 bf16.
DEVICE float round_to(float value, u32 storage) {
    const u32 bits = bits_of(value), sign = bits & 0x80000000u, size = bits & 0x7fffffffu;
    if (storage == 2) return float_of((bits + 0x7fffu + ((bits >> 16) & 1)) & 0xffff0000u);
    if (storage != 1) return value;
    if (size >= 0x477ff000u) return float_of(sign | 0x7f800000u);
    if (size < 0x38800000u) return float_of(sign | bits_of(rintf(fabsf(value) * 16777216.0f) * (1.0f / 16777216.0f)));
    return float_of((bits + 0x0fffu + ((bits >> 13) & 1)) & 0xffffe000u);
}

// The least scale of a storage type: 2^-24 for f16, 2^-100 for the others.
DEVICE float smallest_scale(u32 storage) { return float_of((storage == 1 ? 103u : 27u) << 23); }

// A scale as it is stored: rounded to its type, and not closer to 0 than the least one.
DEVICE float stored_scale(float scale, u32 storage) {
    const float rounded = round_to(scale, storage), smallest = smallest_scale(storage);
    if (fabsf(rounded) < smallest) return rounded < 0.0f ? -smallest : smallest;
    return rounded;
}
