//! Fast [`TokenQuantize`](crate::kernel::token_quantize): as [`activation_quantize`](super::activation_quantize), a product
//! with the reciprocal of the scale gives a guess at each code, and where it is not surely right the specification decides.

use rayon::prelude::*;

use super::{LANES, rows};
use crate::dispatch::{Bindings, Variant};
use crate::kernel::token_quantize::{Params, code_of};

pub fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, mut codes, mut scales, mut sums, mut zeros] = bindings.take();
    let (count, cols, words) = (p.rows as usize, p.cols as usize, p.words());
    if count == 0 || cols == 0 {
        return;
    }
    let values = x.f32()[..count * cols].par_chunks_exact(cols);
    let codes = codes.words_mut()[..count * words].par_chunks_exact_mut(words);
    let found = scales.words_mut()[..count].par_iter_mut().zip(&mut sums.words_mut()[..count]);
    let found = found.zip(&mut zeros.words_mut()[..count]);
    values.zip(codes).zip(found).with_min_len(rows::per_task(cols)).for_each(
        |((values, codes), ((scale, sum), zero))| {
            let (bits, point) = p.coding(values);
            *scale = bits;
            *zero = point as u32;
            *sum = token(values, f32::from_bits(bits), point, bytemuck::must_cast_slice_mut(codes)) as u32;
        },
    );
}

/// A number whose last significand bit is worth 1: added to a small number it leaves its nearest integer in the low bits.
const SHIFT: f32 = 12_582_912.0;
/// Quotients are taken within this of zero, beyond every code, where [`SHIFT`] works.
const FAR: f32 = 1024.0;

vectorized! {
    /// The codes of a token, and their sum.
    fn token(values: &[f32], scale: f32, zero: i32, codes: &mut [u8]) -> i32 {
        codes[values.len()..].fill(0);
        if scale.is_nan() || scale <= 0.0 {
            codes.fill(0);
            return 0;
        }
        let mut sum = 0;
        for (values, codes) in values.chunks(LANES).zip(codes.chunks_mut(LANES)) {
            let mut padded = [0.0; LANES];
            padded[..values.len()].copy_from_slice(values);
            let found = sixteen(&padded, scale, zero);
            for (code, found) in codes.iter_mut().zip(&found[..values.len()]) {
                *code = *found as u8;
                sum += found;
            }
        }
        sum
    }
}

/// Codes of sixteen values.
#[inline(always)]
fn sixteen(values: &[f32; LANES], scale: f32, zero: i32) -> [i32; LANES] {
    let inverse = 1.0 / scale;
    let (mut doubts, mut found) = (0, [0i32; LANES]);
    for lane in 0..LANES {
        let quotient = (values[lane] * inverse).clamp(-FAR, FAR);
        let shifted = quotient + SHIFT;
        let nearest = shifted - SHIFT;
        // Products are correctly rounded, so that what lies strictly beyond one lies beyond the exact one; what is far
        // outside has the outermost code.
        let within = (values[lane] > scale * (nearest - 0.5)) & (values[lane] < scale * (nearest + 0.5));
        doubts |= i32::from(!(within | (quotient.abs() >= FAR)));
        found[lane] = (shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i32 + zero).clamp(-128, 127);
    }
    if doubts != 0 {
        found = values.map(|value| code_of(value, scale, zero));
    }
    found
}
