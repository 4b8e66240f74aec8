//! Division and rounding whose results no device can get wrong. Shaders may divide with an error of a few
//! units in the last place; codes chosen by such a quotient differ from device to device. Here a quotient is
//! only a first guess, corrected by products, which are correctly rounded everywhere, and ties are found in integers:
//! the extreme of every group lies at one or next to it under `2n-1`. The same functions stand in
//! `shaders/part/exact.wgsl`.

use super::Rounding;

/// `value / divisor` correctly rounded, by integer division of the significand. `value` is not negative and
/// `divisor` is in `1..=255`. Results below the normal range become 0.
///
/// ```
/// use bitsmith::scheme::divide_exact;
/// assert_eq!(divide_exact(1.0, 15), 1.0 / 15.0);
/// ```
#[inline(always)]
pub fn divide_exact(value: f32, divisor: u32) -> f32 {
    let bits = value.to_bits();
    let exponent = bits >> 23;
    if exponent == 0 {
        return 0.0;
    }
    let significand = (bits & 0x007F_FFFF) | 0x0080_0000;
    let (mut quotient, remainder) = ((significand << 8) / divisor, (significand << 8) % divisor);
    // The significand has 24 bits and the divisor at most 8, so the quotient has between 24 and 32.
    let excess = 8 - quotient.leading_zeros();
    let dropped = quotient & ((1 << excess) - 1);
    quotient >>= excess;
    // Twice what was dropped against one unit of what is kept, the remainder breaking ties.
    let twice = if excess == 0 { 2 * remainder } else { (dropped << 1) | u32::from(remainder != 0) };
    let unit = if excess == 0 { divisor } else { 1 << excess };
    quotient += u32::from(twice > unit || (twice == unit && quotient & 1 == 1));
    let exponent = (exponent + excess).wrapping_sub(8).wrapping_add(quotient >> 24);
    if exponent as i32 <= 0 {
        return 0.0;
    }
    let fraction = if quotient >> 24 == 1 { 0 } else { quotient & 0x007F_FFFF };
    f32::from_bits((exponent << 23) | fraction)
}

/// Quotients beyond this are clamped before they are corrected: no code lies further out.
const FARTHEST: f32 = 1024.0;

/// `value / scale` as an integer: the exact quotient under `rounding`. `scale` may be negative, and is normal;
/// `chance` in (0, 1) is used by [`Rounding::Stochastic`] only. Quotients beyond ±1024 are clamped.
#[inline(always)]
pub fn nearest_integer(value: f32, scale: f32, rounding: Rounding, chance: f32) -> i32 {
    let (value, scale) = if scale < 0.0 { (-value, -scale) } else { (value, scale) };
    let mut low = (value / scale).clamp(-FARTHEST, FARTHEST).floor();
    if scale * low > value {
        low -= 1.0;
    }
    if scale * (low + 1.0) <= value {
        low += 1.0;
    }
    let up = match rounding {
        // The first test keeps exact multiples where they are: `low + chance` may round to `low`.
        Rounding::Stochastic => value > scale * low && value >= scale * (low + chance),
        Rounding::HalfEven | Rounding::HalfAway => {
            let middle = scale * (low + 0.5);
            let side = if value == middle { side_of_middle(value, scale, 2 * low as i32 + 1) } else { 0 };
            let tie_up = || if rounding == Rounding::HalfEven { low as i32 & 1 == 1 } else { value >= 0.0 };
            value > middle || (value == middle && (side > 0 || (side == 0 && tie_up())))
        }
    };
    (low as i32 + i32::from(up)).clamp(-1024, 1024)
}

/// `value / scale + offset` as an integer, half to even. With an offset of 0 it is what [`nearest_integer`] gives with
/// [`Rounding::HalfEven`], bit for bit; with another, the thresholds between integers are the rounded products
/// `scale * (n + 1/2 - offset)`, the same on every device.
///
/// ```
/// use bitsmith::scheme::nearest_shifted;
/// assert_eq!(nearest_shifted(0.7, 0.5, 0.0), 1);
/// assert_eq!(nearest_shifted(0.7, 0.5, 0.2), 2);
/// ```
#[inline]
pub fn nearest_shifted(value: f32, scale: f32, offset: f32) -> i32 {
    let (value, scale) = if scale < 0.0 { (-value, -scale) } else { (value, scale) };
    let mut low = (value / scale + offset).clamp(-FARTHEST, FARTHEST).floor();
    if scale * (low - offset) > value {
        low -= 1.0;
    }
    if scale * (low + 1.0 - offset) <= value {
        low += 1.0;
    }
    let middle = scale * (low + 0.5 - offset);
    let exact = value == middle && offset == 0.0;
    let side = if exact { side_of_middle(value, scale, 2 * low as i32 + 1) } else { 0 };
    let up = value > middle || (value == middle && (side > 0 || (side == 0 && low.rem_euclid(2.0) == 1.0)));
    (low as i32 + i32::from(up)).clamp(-1024, 1024)
}

/// The sign of `value - scale * twice / 2` where the rounded product equals `value`: the difference of the
/// significands, brought to one exponent, is then so small that it can be had modulo 2^32.
#[inline(always)]
fn side_of_middle(value: f32, scale: f32, twice: i32) -> i32 {
    let significand = |x: f32| (x.to_bits() & 0x007F_FFFF) | 0x0080_0000;
    let exponent = |x: f32| (x.to_bits() >> 23) & 0xFF;
    let shift = exponent(value).wrapping_sub(exponent(scale)).wrapping_add(1) & 31;
    let product = significand(scale).wrapping_mul(twice.unsigned_abs());
    let difference = (significand(value) << shift).wrapping_sub(product) as i32;
    if value < 0.0 { difference.wrapping_neg() } else { difference }
}
