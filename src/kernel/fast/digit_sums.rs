//! Sums of products of codes with the digits of activations: the inner loops of [`group_fixed`](super::group_fixed).

use std::ops::Range;

use super::fixed::{parts, planes};
use super::group_fixed::ROWS;
use super::simd::{ByteDots, Line};

/// The digits that are summed together.
pub const fn digits(bits: u32, digits: usize, part: usize) -> Range<usize> {
    match (parts(bits, digits), part) {
        (1, _) => 0..digits,
        (_, 0) => 0..digits - 1,
        _ => digits - 1..digits,
    }
}

/// Adds the products of a digit, to sums that are moved up if a higher digit is in them.
#[inline(always)]
pub fn add_digit<S: ByteDots, const B: u32, const NB: usize>(
    simd: S,
    digit: usize,
    codes: &[[S::W; 4]; ROWS],
    x: &[&[Line]; NB],
    sums: &mut [[S::W; NB]; ROWS],
) {
    if digit > 0 {
        for sums in sums.iter_mut() {
            for sum in sums.iter_mut() {
                *sum = simd.shift_left(*sum, 8);
            }
        }
    }
    for plane in 0..planes(B) {
        for n in 0..NB {
            let x = simd.words(&x[n][digit * planes(B) + plane].0);
            for r in 0..ROWS {
                sums[r][n] = if B == 8 {
                    simd.dot::<true>(sums[r][n], codes[r][plane], x)
                } else {
                    simd.dot::<false>(sums[r][n], codes[r][plane], x)
                };
            }
        }
    }
}

/// The sums of codes of 2 bits with one row of x. A plane at a time, with sums of their own for each digit: all planes would
/// not stay in registers.
#[inline(always)]
pub fn by_planes<S: ByteDots, const D: usize>(
    simd: S,
    words: &[u32],
    stride: usize,
    at: usize,
    x: &[Line],
) -> [S::W; ROWS] {
    let words = simd.load_rows::<ROWS>(words, stride, at);
    let (mask, mut sums) = (simd.splat(0x0303_0303), [[simd.splat(0); D]; ROWS]);
    for plane in 0..planes(2) {
        let mut digits = [mask; D];
        for d in 0..D {
            digits[d] = simd.words(&x[d * planes(2) + plane].0);
        }
        for r in 0..ROWS {
            #[allow(clippy::cast_possible_truncation, reason = "below 4")]
            let codes = simd.and(simd.shift_right(words[r], 2 * plane as u32), mask);
            for d in 0..D {
                sums[r][d] = simd.dot::<false>(sums[r][d], codes, digits[d]);
            }
        }
    }
    let mut totals = [mask; ROWS];
    for r in 0..ROWS {
        totals[r] = sums[r][0];
        for sum in &sums[r][1..] {
            totals[r] = simd.add(simd.shift_left(totals[r], 8), *sum);
        }
    }
    totals
}
