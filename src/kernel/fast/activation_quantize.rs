//! Fast [`ActivationQuantize`](crate::kernel::activation_quantize): no division but one a block. A multiplication by the
//! reciprocal gives a guess at each code; it is the code if the value lies strictly between the middles on both sides, and
//! else the specification decides.

use rayon::prelude::*;

use super::{LANES, rows};
use crate::dispatch::{Bindings, Variant};
use crate::kernel::activation_quantize::{LARGEST, NOT_FINITE, Params, scale_of};
use crate::scheme::{Rounding, nearest_integer};

/// Rows of x with their codes, and the scales and sums of their blocks.
type Part<'a> = ((&'a [f32], &'a mut [u32]), (&'a mut [u32], &'a mut [u32]));

pub fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, mut codes, mut scales, mut sums] = bindings.take();
    let (cols, blocks, count) = (p.cols as usize, p.blocks(), p.rows as usize * p.blocks());
    if count == 0 {
        return;
    }
    let (x, words) = (&x.f32()[..p.rows as usize * cols], p.block_words());
    let codes = &mut codes.words_mut()[..count * words];
    let (scales, sums) = (&mut scales.words_mut()[..count], &mut sums.words_mut()[..count]);
    let panel = rows::per_task(cols);
    let quantize = |((x, codes), (scales, sums)): Part<'_>| {
        let values = x.chunks_exact(cols).flat_map(|row| row.chunks(p.block as usize));
        let results = scales.iter_mut().zip(sums);
        for ((values, codes), (scale, sum)) in values.zip(codes.chunks_exact_mut(words)).zip(results) {
            (*scale, *sum) = block(values, bytemuck::must_cast_slice_mut(codes));
        }
    };
    if p.rows as usize <= panel {
        return quantize(((x, codes), (scales, sums)));
    }
    let parts = x.par_chunks(panel * cols).zip(codes.par_chunks_mut(panel * blocks * words));
    let results = scales.par_chunks_mut(panel * blocks).zip(sums.par_chunks_mut(panel * blocks));
    parts.zip(results).for_each(quantize);
}

/// A number whose last significand bit is worth 1: added to a small number it leaves its nearest integer in the low bits.
const SHIFT: f32 = 12_582_912.0;

vectorized! {
    /// Codes of a block; the bits of its scale and the sum of its codes.
    fn block(values: &[f32], codes: &mut [u8]) -> (u32, u32) {
        let (chunks, rest) = values.as_chunks::<LANES>();
        let mut most = [0u32; LANES];
        for values in chunks {
            for lane in 0..LANES {
                most[lane] = most[lane].max(values[lane].abs().to_bits());
            }
        }
        let of_rest = rest.iter().fold(0, |most, v| most.max(v.abs().to_bits()));
        let most = most.into_iter().fold(of_rest, u32::max);
        let scale = scale_of(most);
        let Some(scale) = scale.filter(|s| *s > 0.0) else {
            codes.fill(0);
            return (scale.map_or(NOT_FINITE, f32::to_bits), 0);
        };
        let (inverse, mut sum) = (1.0 / scale, 0i32);
        codes[values.len()..].fill(0);
        let (code_chunks, code_rest) = codes.as_chunks_mut::<LANES>();
        for (values, codes) in chunks.iter().zip(&mut *code_chunks) {
            sum += sixteen(values, scale, inverse, codes);
        }
        if !rest.is_empty() {
            let (mut values, mut codes) = ([0.0; LANES], [0; LANES]);
            values[..rest.len()].copy_from_slice(rest);
            sum += sixteen(&values, scale, inverse, &mut codes);
            let to = code_chunks.get_mut(chunks.len()).map_or(code_rest, |chunk| &mut chunk[..]);
            to[..rest.len()].copy_from_slice(&codes[..rest.len()]);
        }
        (scale.to_bits(), sum as u32)
    }
}

/// Codes of sixteen values, and their sum.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "codes are in -127..=127")]
fn sixteen(values: &[f32; LANES], scale: f32, inverse: f32, codes: &mut [u8; LANES]) -> i32 {
    let (mut doubts, mut sum) = (0, 0);
    let mut found = [0i32; LANES];
    for lane in 0..LANES {
        let shifted = values[lane] * inverse + SHIFT;
        let nearest = shifted - SHIFT;
        // Products are correctly rounded, so that what lies strictly beyond one lies beyond the exact one.
        let within = (values[lane] > scale * (nearest - 0.5)) & (values[lane] < scale * (nearest + 0.5));
        doubts |= i32::from(!within);
        found[lane] = shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
    }
    if doubts != 0 {
        let code = |value: f32| nearest_integer(value, scale, Rounding::HalfEven, 0.0);
        found = values.map(|value| code(value).clamp(-(LARGEST as i32), LARGEST as i32));
    }
    for lane in 0..LANES {
        codes[lane] = found[lane] as u8;
        sum += found[lane];
    }
    sum
}
