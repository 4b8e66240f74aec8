// Quotients and roundings that come out the same on every device; see src/scheme/exact.rs, its twin.

// value / divisor correctly rounded; value >= 0, divisor in 1..=255, subnormal results become 0.
fn divide_exact(value: f32, divisor: u32) -> f32 {
    let bits = bitcast<u32>(value);
    var exponent = bits >> 23u;
    if exponent == 0u { return 0.0; }
    let significand = ((bits & 0x007fffffu) | 0x00800000u) << 8u;
    var quotient = significand / divisor;
    let remainder = significand - quotient * divisor;
    let excess = 8u - countLeadingZeros(quotient);
    let dropped = quotient & ((1u << excess) - 1u);
    quotient = quotient >> excess;
    let twice = select((dropped << 1u) | u32(remainder != 0u), 2u * remainder, excess == 0u);
    let unit = select(1u << excess, divisor, excess == 0u);
    quotient += u32(twice > unit || (twice == unit && (quotient & 1u) == 1u));
    exponent = exponent + excess - 8u + (quotient >> 24u);
    if i32(exponent) <= 0 { return 0.0; }
    let fraction = select(quotient & 0x007fffffu, 0u, (quotient >> 24u) == 1u);
    return bitcast<f32>((exponent << 23u) | fraction);
}

// value / scale as an integer. rounding: 0 half to even, 1 half away from zero, 2 stochastic by `chance`.
fn nearest_integer(signed_value: f32, signed_scale: f32, rounding: u32, chance: f32) -> i32 {
    let value = select(signed_value, -signed_value, signed_scale < 0.0);
    let scale = abs(signed_scale);
    var low = floor(clamp(value / scale, -1024.0, 1024.0));
    // A quotient may be off by a few units in the last place, so the first guess by one.
    if scale * low > value { low -= 1.0; }
    if scale * (low + 1.0) <= value { low += 1.0; }
    var up: bool;
    if rounding == 2u {
        // The first test keeps exact multiples where they are: low + chance may round to low.
        up = value > scale * low && value >= scale * (low + chance);
    } else {
        let middle = scale * (low + 0.5);
        let tie_up = select(value >= 0.0, (i32(low) & 1) == 1, rounding == 0u);
        var side = 0;
        if value == middle { side = side_of_middle(value, scale, 2 * i32(low) + 1); }
        up = value > middle || (value == middle && (side > 0 || (side == 0 && tie_up)));
    }
    return clamp(i32(low) + i32(up), -1024, 1024);
}

// value / scale + offset as an integer, half to even; with an offset of 0 what nearest_integer gives.
fn nearest_shifted(signed_value: f32, signed_scale: f32, offset: f32) -> i32 {
    let value = select(signed_value, -signed_value, signed_scale < 0.0);
    let scale = abs(signed_scale);
    var low = floor(clamp(value / scale + offset, -1024.0, 1024.0));
    if scale * (low - offset) > value { low -= 1.0; }
    if scale * (low + 1.0 - offset) <= value { low += 1.0; }
    let middle = scale * (low + 0.5 - offset);
    var side = 0;
    if value == middle && offset == 0.0 { side = side_of_middle(value, scale, 2 * i32(low) + 1); }
    let up = value > middle || (value == middle && (side > 0 || (side == 0 && (i32(low) & 1) == 1)));
    return clamp(i32(low) + i32(up), -1024, 1024);
}

// The sign of value - scale * twice / 2 where the rounded product equals value, from the significands modulo 2^32.
fn side_of_middle(value: f32, scale: f32, twice: i32) -> i32 {
    let value_bits = bitcast<u32>(value);
    let scale_bits = bitcast<u32>(scale);
    let shift = (((value_bits >> 23u) & 255u) - ((scale_bits >> 23u) & 255u) + 1u) & 31u;
    let product = ((scale_bits & 0x007fffffu) | 0x00800000u) * u32(abs(twice));
    let difference = bitcast<i32>((((value_bits & 0x007fffffu) | 0x00800000u) << shift) - product);
    return select(difference, -difference, value < 0.0);
}

// A number in (0, 1) from a seed and a position.
fn uniform_at(seed: u32, position: u32) -> f32 {
    var h = (position * 0x9e3779b1u) ^ (seed * 0x85ebca77u) ^ 0x27d4eb2fu;
    h = (h ^ (h >> 15u)) * 0x2c1b3c6du;
    h = (h ^ (h >> 13u)) * 0x2c1b3c6du;
    h = h ^ (h >> 16u);
    return (f32(h >> 9u) + 0.5) * (1.0 / 8388608.0);
}

// value rounded to a storage type, half to even. storage: 0 f32, 1 f16, 2 bf16.
fn round_to(value: f32, storage: u32) -> f32 {
    let bits = bitcast<u32>(value);
    let sign = bits & 0x80000000u;
    let size = bits & 0x7fffffffu;
    if storage == 2u {
        return bitcast<f32>((bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u);
    }
    if storage == 1u {
        if size >= 0x477ff000u { return bitcast<f32>(sign | 0x7f800000u); }
        if size < 0x38800000u { return bitcast<f32>(sign | bitcast<u32>(round(abs(value) * 16777216.0) * (1.0 / 16777216.0))); }
        return bitcast<f32>((bits + 0x0fffu + ((bits >> 13u) & 1u)) & 0xffffe000u);
    }
    return value;
}
