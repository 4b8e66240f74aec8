//! Activations as integers, for products of bytes.
//!
//! The 16 lanes of a block, each of 8 or 16 neighbouring columns, share a power of two, so chosen that integers of 24 bits
//! hold all of them: the rounding is at most a unit in the last place of the block's largest activation in f32. Sums of these integers times codes are exact. An integer is three signed digits of
//! a byte each, the highest first. Activations that are bytes already are integers of one digit.

use rayon::prelude::*;

use super::LANES;
use super::simd::Line;

/// Digits of an activation that was f32.
pub const DIGITS: usize = 3;

/// The largest integer of three digits from -128 to 127.
const LARGEST: f32 = 8_355_711.0;

/// Smallest exponent of a block's unit: it and its reciprocal are normal numbers.
const LEAST_EXPONENT: i32 = -120;

/// How much of a block, its largest activation aside, may be lost: more could show where the weight of the largest is
/// zero. It takes a largest activation some hundred times the size of its neighbours.
const MOST_LOST: f32 = 1.0 / 65536.0;

/// Vectors in which the codes of a block are spread to bytes; each has four codes of every lane.
pub const fn planes(bits: u32) -> usize {
    if bits == 2 { 4 } else { 2 }
}

/// Columns of a lane.
pub const fn lane_columns(bits: u32) -> usize {
    4 * planes(bits)
}

/// Columns of a block.
pub const fn block_columns(bits: u32) -> usize {
    LANES * lane_columns(bits)
}

/// Partial products that are summed apart, because sums of 24-bit activations and 8-bit codes do not fit 32 bits: the
/// upper two digits and the last.
pub const fn parts(bits: u32, digits: usize) -> usize {
    if bits == 8 && digits > 1 { 2 } else { 1 }
}

/// Lines of a block: the digits' planes, then for each part the lanes' sums of activations, negative.
pub const fn block_lines(bits: u32, digits: usize) -> usize {
    digits * planes(bits) + parts(bits, digits)
}

/// Rows of activations of `D` digits.
pub struct Fixed<const D: usize> {
    lines_per_row: usize,
    units_per_row: usize,
    lines: Vec<Line>,
    /// The unit of each block; none of activations that were bytes.
    units: Vec<f32>,
}

impl Fixed<1> {
    /// A row of bytes for codes of `B` bits; what a byte is worth is for the caller to know.
    pub fn bytes<const B: u32>(x: &[i8]) -> Self {
        let mut lines = vec![Line::default(); x.len().div_ceil(block_columns(B)) * block_lines(B, 1)];
        for (x, lines) in x.chunks(block_columns(B)).zip(lines.chunks_exact_mut(block_lines(B, 1))) {
            spread_bytes::<B>(x, lines);
        }
        Self { lines_per_row: lines.len(), units_per_row: 0, lines, units: Vec::new() }
    }
}

impl Fixed<DIGITS> {
    /// The activations of `[batch, cols]` for codes of `B` bits. None if integers cannot stand for them: some are not finite,
    /// or one is so large that its neighbours would be lost.
    pub fn new<const B: u32>(x: &[f32], cols: usize) -> Option<Self> {
        let blocks = cols.div_ceil(block_columns(B));
        let lines_per_row = blocks * block_lines(B, DIGITS);
        let batch = x.len() / cols.max(1);
        let mut lines = vec![Line::default(); batch * lines_per_row];
        let mut units = vec![0.0; batch * blocks];
        let round = |((x, lines), units): ((&[f32], &mut [Line]), &mut [f32])| {
            let blocks = x.chunks(block_columns(B)).zip(lines.chunks_exact_mut(block_lines(B, DIGITS))).zip(units);
            blocks.into_iter().all(|((x, lines), unit)| round_block::<B>(x, lines, unit))
        };
        let fits = if batch == 1 {
            round(((x, &mut lines), &mut units))
        } else {
            let rows = x.par_chunks_exact(cols.max(1)).zip(lines.par_chunks_exact_mut(lines_per_row.max(1)));
            rows.zip(units.par_chunks_exact_mut(blocks.max(1))).all(round)
        };
        fits.then_some(Self { lines_per_row, units_per_row: blocks, lines, units })
    }
}

impl<const D: usize> Fixed<D> {
    /// Lines and units of a row.
    pub fn row(&self, row: usize) -> (&[Line], &[f32]) {
        let (lines, units) = (self.lines_per_row, self.units_per_row);
        (&self.lines[row * lines..][..lines], &self.units[row * units..][..units])
    }
}

vectorized! {
    /// Rounds a block; false if it does not fit integers.
    fn round_block<const B: u32>(x: &[f32], lines: &mut [Line], unit: &mut f32) -> bool {
        // Sixteen columns a lane are the most.
        let mut values = [[0.0f32; LANES]; 16];
        let values = &mut values[..lane_columns(B)];
        values.as_flattened_mut()[..x.len()].copy_from_slice(x);
        // Sizes are ordered as their bits are, infinity above all numbers and NaN above that.
        let (mut largest, mut sums) = ([0u32; LANES], [0.0f32; LANES]);
        for values in values.iter() {
            for i in 0..LANES {
                let size = values[i].abs();
                largest[i] = largest[i].max(size.to_bits());
                sums[i] += size;
            }
        }
        let largest = f32::from_bits(largest.into_iter().fold(0, u32::max));
        let exponent = exponent(largest);
        *unit = power_of_two(exponent);
        let per_unit = power_of_two(-exponent);
        let (mut integers, mut lost) = ([[0i32; LANES]; 16], [0.0f32; LANES]);
        for (integers, values) in integers.iter_mut().zip(values.iter()) {
            for i in 0..LANES {
                let scaled = values[i] * per_unit;
                let (upper, upper_integer) = nearest(scaled / 256.0);
                let rest = scaled - upper * 256.0;
                let (rounded, integer) = nearest(rest);
                lost[i] += (rest - rounded).abs();
                integers[i] = (upper_integer << 8).wrapping_add(integer);
            }
        }
        let others = (sums.into_iter().sum::<f32>() - largest) * per_unit;
        // The largest may itself lose half a unit.
        let own = (largest * per_unit).min(0.5);
        let fits = largest.is_finite() && lost.into_iter().sum::<f32>() - own <= others * MOST_LOST;
        if fits {
            spread::<B, DIGITS>(&integers.as_flattened()[..block_columns(B)], lines);
        }
        fits
    }

    /// The lines of a block of bytes.
    fn spread_bytes<const B: u32>(x: &[i8], lines: &mut [Line]) {
        let mut integers = [0; 16 * LANES];
        integers.iter_mut().zip(x).for_each(|(integer, x)| *integer = i32::from(*x));
        spread::<B, 1>(&integers[..block_columns(B)], lines);
    }
}

/// The exponent of the unit with which a block's largest is an integer of 24 bits.
#[inline(always)]
fn exponent(largest: f32) -> i32 {
    let exponent = (largest.to_bits() >> 23).cast_signed() - 127 - 22;
    let fits = largest * power_of_two(-exponent.max(LEAST_EXPONENT)) <= LARGEST;
    (if fits { exponent } else { exponent + 1 }).clamp(LEAST_EXPONENT, 126)
}

/// The nearest integer to a number below 2^22 in size, as both; what a conversion by instruction makes of other numbers
/// costs loops their vectors.
#[inline(always)]
fn nearest(x: f32) -> (f32, i32) {
    // Numbers from 2^23 to 2^24 are integers, and their low bits count them.
    const MIDDLE: f32 = 12_582_912.0;
    let moved = x + MIDDLE;
    (moved - MIDDLE, moved.to_bits().wrapping_sub(MIDDLE.to_bits()).cast_signed())
}

/// `2^exponent`, for exponents of normal numbers.
#[inline(always)]
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) << 23).cast_unsigned())
}

/// The lines of a block of integers. Place `j` of a lane's word in plane `p` is for its code `4 * p + j`, or with 2 and 4
/// bits, where a byte of the weight holds several codes, for code `planes * j + p`.
#[inline(always)]
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "bytes are cut out on purpose")]
fn spread<const B: u32, const D: usize>(integers: &[i32], lines: &mut [Line]) {
    let mut bytes = [[0u8; 16 * LANES]; D];
    for (i, x) in integers.iter().enumerate() {
        let mut x = *x;
        for bytes in bytes.iter_mut().rev() {
            bytes[i] = x as u8;
            x = upper(x);
        }
    }
    let (planes, columns) = (planes(B), lane_columns(B));
    for (bytes, lines) in bytes.iter().zip(lines.chunks_exact_mut(planes)) {
        for (lane, bytes) in bytes.chunks_exact(columns).take(LANES).enumerate() {
            let eight = |i: usize| u64::from_le_bytes(bytes[i * 8..].as_chunks().0[0]);
            let words = match B {
                2 => {
                    let ([a, b], [c, d]) = (every_other(eight(0)), every_other(eight(1)));
                    let ([p0, p2], [p1, p3]) = (every_other(a | c << 32), every_other(b | d << 32));
                    [p0, p1, p2, p3]
                }
                4 => {
                    let [p0, p1] = every_other(eight(0));
                    [p0, p1, 0, 0]
                }
                _ => [eight(0), eight(0) >> 32, 0, 0],
            };
            lines.iter_mut().zip(words).for_each(|(line, word)| line.0[lane] = word as u32);
        }
    }
    for (lane, x) in integers.chunks_exact(columns).enumerate() {
        let all: i32 = x.iter().sum();
        let uppers: i32 = x.iter().map(|x| upper(*x)).sum();
        let sums = if parts(B, D) == 2 { [uppers, all - 256 * uppers] } else { [all, 0] };
        let (_, lines) = lines.split_at_mut(D * planes);
        lines.iter_mut().zip(sums).for_each(|(line, sum)| line.0[lane] = (-sum) as u32);
    }
}

/// An integer without its lowest digit.
#[inline(always)]
fn upper(x: i32) -> i32 {
    (x + 128) >> 8
}

/// The bytes with even index and those with odd, each as four bytes.
#[inline(always)]
fn every_other(x: u64) -> [u64; 2] {
    [x, x >> 8].map(|x| {
        let x = x & 0x00ff_00ff_00ff_00ff;
        let x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
        (x | x >> 16) & 0xffff_ffff
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// What the lines of a row hold, column by column.
    fn values<const B: u32>(x: &Fixed<DIGITS>, row: usize, cols: usize) -> Vec<f64> {
        let (lines, units) = x.row(row);
        let value = |col: usize| {
            let (block, within) = (col / block_columns(B), col % block_columns(B));
            let (lane, code) = (within / lane_columns(B), within % lane_columns(B));
            let planes = planes(B);
            let (plane, j) = if matches!(B, 2 | 4) { (code % planes, code / planes) } else { (code / 4, code % 4) };
            let digits = (0..DIGITS).map(|d| {
                let word = lines[block * block_lines(B, DIGITS) + d * planes + plane].0[lane];
                f64::from(word.to_le_bytes()[j].cast_signed())
            });
            digits.fold(0.0, |value, digit| value * 256.0 + digit) * f64::from(units[block])
        };
        (0..cols).map(value).collect()
    }

    fn keeps_values<const B: u32>() {
        const COLS: usize = 700;
        let mut x = Random::new(B).normals(2 * COLS);
        // The largest numbers there are, one just under a power of two, and blocks of zeros.
        x[..256].iter_mut().for_each(|x| *x = f32::MAX.copysign(*x));
        x[COLS + 5] = -4.0f32.next_down();
        x[COLS + 256..COLS + 512].fill(0.0);
        let fixed = Fixed::new::<B>(&x, COLS).expect("finite numbers of similar size");
        for (row, x) in x.chunks(COLS).enumerate() {
            let found = values::<B>(&fixed, row, COLS);
            for (found, x) in found.chunks(block_columns(B)).zip(x.chunks(block_columns(B))) {
                let largest = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                let most = f64::from(largest) / f64::from(1 << 22) * (0.5 + 1e-6);
                for (found, x) in found.iter().zip(x) {
                    assert!((found - f64::from(*x)).abs() <= most, "{found} is not {x}, of {largest} at most");
                }
            }
        }
    }

    #[test]
    fn within_a_unit_of_the_largest() {
        keeps_values::<2>();
        keeps_values::<3>();
        keeps_values::<4>();
        keeps_values::<8>();
    }

    #[test]
    fn what_integers_cannot_stand_for() {
        let plain = vec![1.25f32; 300];
        assert!(Fixed::new::<4>(&plain, 300).is_some());
        for (i, other) in [(0, f32::NAN), (299, f32::INFINITY), (128, f32::NEG_INFINITY), (5, 1e8)] {
            let mut x = plain.clone();
            x[i] = other;
            // Neighbours that the rounding would change.
            x[i ^ 1] = 1.1;
            x[i ^ 2] = 0.9;
            assert!(Fixed::new::<4>(&x, 300).is_none(), "{other}");
        }
        let mut alone = vec![0.0; 300];
        alone[7] = 0.1;
        assert!(Fixed::new::<4>(&alone, 300).is_some());
        assert!(Fixed::new::<4>(&vec![1e-40; 300], 300).is_none());
    }
}
