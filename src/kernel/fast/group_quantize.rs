//! Fast [`GroupQuantize`](crate::kernel::group_quantize): the codes of a row one a byte, then packed, so that groups of any
//! size and codes of any width meet in neither loop.

use super::stored::{Stored, by_dtype, elements};
use super::stream::{by_bits, pack, padded};
use super::{LANES, rows};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::group_quantize::Params;
use crate::scheme::{Rounding, nearest_integer, uniform};

pub fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [w, scales, zeros, mut codes] = bindings.take();
    let (cols, stride) = (p.cols as usize, p.words_per_row as usize);
    let codes = &mut codes.words_mut()[..p.rows as usize * stride];
    let (w, scales, zeros) = (w.words(), scales.f32(), zeros.words());
    rows::each(codes, stride, rows::per_task(cols), |first, codes| {
        by_dtype!(variant.dtype(Role::Weight), quantize_rows(p, first, w, scales, zeros, codes));
    });
}

fn quantize_rows<T: Stored>(p: &Params, first: usize, w: &[u32], scales: &[f32], zeros: &[u32], codes: &mut [u32]) {
    let (w, cols) = (elements::<T>(w), p.cols as usize);
    let mut bytes = vec![0; padded(cols)];
    for (i, words) in codes.chunks_exact_mut(p.words_per_row as usize).enumerate() {
        let row = first + i;
        let values = &w[row * cols..][..cols];
        let group = row * p.groups_per_row as usize;
        let (scales, zeros) = (&scales[group..], &zeros[group..]);
        #[allow(clippy::cast_possible_truncation, reason = "element indices of one binding fit u32")]
        let position = p.first_element.wrapping_add((row * cols) as u32);
        match Rounding::from_tag(p.rounding) {
            Rounding::HalfEven => quantize_row::<T, EVEN>(p, position, values, scales, zeros, &mut bytes),
            Rounding::HalfAway => quantize_row::<T, AWAY>(p, position, values, scales, zeros, &mut bytes),
            Rounding::Stochastic => quantize_row::<T, STOCHASTIC>(p, position, values, scales, zeros, &mut bytes),
        }
        by_bits!(p.bits, pack_row(&bytes, words));
    }
}

const EVEN: u32 = Rounding::HalfEven.tag();
const AWAY: u32 = Rounding::HalfAway.tag();
const STOCHASTIC: u32 = Rounding::Stochastic.tag();

vectorized! {
    fn pack_row<const B: u32>(bytes: &[u8], words: &mut [u32]) {
        pack::<B>(bytes, words);
    }

    fn quantize_row<T: Stored, const ROUNDING: u32>(
        p: &Params,
        mut position: u32,
        values: &[T],
        scales: &[f32],
        zeros: &[u32],
        bytes: &mut [u8],
    ) {
        let groups = values.chunks(p.group as usize).zip(bytes.chunks_mut(p.group as usize));
        for (k, (values, bytes)) in groups.enumerate() {
            let group = Group::new(p, scales[k], zeros[k] as i32);
            // The bytes of a row go on to a whole block.
            let bytes = &mut bytes[..values.len()];
            let (chunks, rest) = values.as_chunks::<LANES>();
            let (byte_chunks, byte_rest) = bytes.as_chunks_mut::<LANES>();
            for (values, bytes) in chunks.iter().zip(byte_chunks) {
                *bytes = group.codes::<T, ROUNDING>(p.seed, position, values);
                position = position.wrapping_add(LANES as u32);
            }
            if !rest.is_empty() {
                let mut values = [T::zeroed(); LANES];
                values[..rest.len()].copy_from_slice(rest);
                let codes = group.codes::<T, ROUNDING>(p.seed, position, &values);
                byte_rest.copy_from_slice(&codes[..rest.len()]);
                position = position.wrapping_add(rest.len() as u32);
            }
        }
    }
}

/// How the values of one group become codes.
#[derive(Clone, Copy)]
struct Group {
    scale: f32,
    /// The magnitude of the scale, one by that, and the sign that values take over from it.
    size: f32,
    inverse: f32,
    sign: u32,
    zero: i32,
    low: i32,
    high: i32,
}

/// A number whose last significand bit is worth 1: added to a small integer it leaves that in the low bits.
const SHIFT: f32 = 12_582_912.0;

impl Group {
    #[inline(always)]
    fn new(p: &Params, scale: f32, zero: i32) -> Self {
        let size = scale.abs();
        let (low, high) = (p.min_code as i32, (1 << p.bits) - 1);
        Self { scale, size, inverse: 1.0 / size, sign: scale.to_bits() & (1 << 31), zero, low, high }
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "codes are below 256")]
    fn codes<T: Stored, const ROUNDING: u32>(self, seed: u32, position: u32, values: &[T; LANES]) -> [u8; LANES] {
        let mut codes = [0; LANES];
        if ROUNDING == STOCHASTIC {
            for lane in 0..LANES {
                let chance = uniform(seed, position.wrapping_add(lane as u32));
                codes[lane] = self.code(stochastic(values[lane].value(), self.scale, chance));
            }
            return codes;
        }
        let mut doubts = [0; LANES];
        for lane in 0..LANES {
            let (code, sure) = self.nearest(values[lane].value());
            (codes[lane], doubts[lane]) = (code, u8::from(!sure));
        }
        if doubts != [0; LANES] {
            for lane in (0..LANES).filter(|lane| doubts[*lane] != 0) {
                let value = values[lane].value();
                codes[lane] = self.code(nearest_integer(value, self.scale, Rounding::from_tag(ROUNDING), 0.0));
            }
        }
        codes
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "codes are below 256")]
    fn code(self, steps: i32) -> u8 {
        steps.wrapping_add(self.zero).clamp(self.low, self.high) as u8
    }

    /// The code of a value, and whether it is that of `scheme::nearest_integer`: where the value lies strictly between the
    /// rounded middles on both sides of the guess, the specification, which compares with the same products, finds no other.
    /// Ties, NaN, and guesses that the inverse led astray are left to it.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the code is in the low byte")]
    fn nearest(self, value: f32) -> (u8, bool) {
        let value = f32::from_bits(value.to_bits() ^ self.sign);
        let steps = (value * self.inverse + SHIFT) - SHIFT;
        let sure = (value > self.size * (steps - 0.5)) & (value < self.size * (steps + 0.5));
        let (least, most) = ((self.low - self.zero) as f32, (self.high - self.zero) as f32);
        let steps = if steps < least { least } else { steps };
        let steps = if steps > most { most } else { steps };
        ((steps + (SHIFT + self.zero as f32)).to_bits() as u8, sure)
    }
}

/// Quotients beyond this are clamped before they are corrected, as in `scheme::nearest_integer`.
const FARTHEST: f32 = 1024.0;

/// `scheme::nearest_integer` under stochastic rounding with selections in place of branches: the same operations on the
/// same numbers, so the same integer, NaN included.
#[inline(always)]
fn stochastic(value: f32, scale: f32, chance: f32) -> i32 {
    let (value, scale) = if scale < 0.0 { (-value, -scale) } else { (value, scale) };
    let quotient = value / scale;
    let quotient = if quotient > FARTHEST { FARTHEST } else { quotient };
    let mut low = if quotient < -FARTHEST { -FARTHEST } else { quotient }.floor();
    low -= if scale * low > value { 1.0 } else { 0.0 };
    low += if scale * (low + 1.0) <= value { 1.0 } else { 0.0 };
    let steps = (low + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
    let steps = if low.is_nan() { 0 } else { steps };
    let up = (value > scale * low) & (value >= scale * (low + chance));
    (steps + i32::from(up)).clamp(-1024, 1024)
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;
    use crate::random::Random;

    #[test]
    fn equals_the_specification() {
        let special = [0.0, -0.0, 0.5, 1.5, -2.5, 1e-38, 1e-42, 3e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let mut random = Random::new(3);
        let mut values: Vec<f32> = special.to_vec();
        values.extend((0..200).map(|_| random.normal() * 2f32.powi(random.below(16) as i32 - 4)));
        values.extend((-40..40).map(|i| i as f32 * 0.5));
        for &value in &values {
            for &scale in values.iter().chain(&[0.1, -0.1, 1.0, 2.0, -0.25]) {
                let expected = nearest_integer(value, scale, Rounding::Stochastic, 0.3);
                assert_eq!(stochastic(value, scale, 0.3), expected, "{value:e} / {scale:e}");
                for (zero, min_code, bits) in [(8, 0, 4), (128, 1, 8), (0, 0, 2), (3, 0, 3), (255, 0, 8)] {
                    let params = Params { min_code, bits, ..Params::zeroed() };
                    let group = Group::new(&params, scale, zero);
                    let (found, sure) = group.nearest(value);
                    for rounding in [Rounding::HalfEven, Rounding::HalfAway] {
                        let expected = group.code(nearest_integer(value, scale, rounding, 0.0));
                        assert!(
                            !sure || found == expected,
                            "{value:e} / {scale:e}, {rounding}: {found}, not {expected}"
                        );
                    }
                }
            }
        }
    }
}
