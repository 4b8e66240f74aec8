//! Fast [`ActivationQuantize`](crate::kernel::activation_quantize): no division but one a block. A multiplication by the
//! reciprocal gives a guess at each code; it is the code if the value lies strictly between the middles on both sides, and
//! else the specification decides.

use rayon::prelude::*;

use super::rows;
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

/// Values that are decided by the specification together if one of them is in doubt.
const RUN: usize = 128;

vectorized! {
    /// Codes of a block; the bits of its scale and the sum of its codes.
    fn block(values: &[f32], codes: &mut [u8]) -> (u32, u32) {
        let most = values.iter().fold(0, |most, v| v.abs().to_bits().max(most));
        let scale = scale_of(most);
        let Some(scale) = scale.filter(|s| *s > 0.0) else {
            codes.fill(0);
            return (scale.map_or(NOT_FINITE, f32::to_bits), 0);
        };
        let (inverse, mut sum) = (1.0 / scale, 0i32);
        let (codes, padding) = codes.split_at_mut(values.len());
        padding.fill(0);
        for (values, codes) in values.chunks(RUN).zip(codes.chunks_mut(RUN)) {
            sum += guess(values, scale, inverse, codes).unwrap_or_else(|| decide(values, scale, codes));
        }
        (scale.to_bits(), sum as u32)
    }
}

/// Codes of some values, and their sum; none if a code is in doubt.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "codes are in -127..=127")]
fn guess(values: &[f32], scale: f32, inverse: f32, codes: &mut [u8]) -> Option<i32> {
    let (mut doubts, mut sum) = (0, 0);
    for (value, code) in values.iter().zip(codes) {
        let shifted = value * inverse + SHIFT;
        let nearest = shifted - SHIFT;
        // Products are correctly rounded, so that what lies strictly beyond one lies beyond the exact one.
        let within = (*value > scale * (nearest - 0.5)) & (*value < scale * (nearest + 0.5));
        doubts |= i32::from(!within);
        let found = shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
        *code = found as u8;
        sum += found;
    }
    (doubts == 0).then_some(sum)
}

/// The same by the specification.
#[cold]
#[allow(clippy::cast_possible_truncation, reason = "codes are in -127..=127")]
fn decide(values: &[f32], scale: f32, codes: &mut [u8]) -> i32 {
    let mut sum = 0;
    for (value, code) in values.iter().zip(codes) {
        let found = nearest_integer(*value, scale, Rounding::HalfEven, 0.0);
        let found = found.clamp(-(LARGEST as i32), LARGEST as i32);
        *code = found as u8;
        sum += found;
    }
    sum
}
