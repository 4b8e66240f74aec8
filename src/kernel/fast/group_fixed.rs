//! Products with a packed weight through products of bytes: activations as [`fixed`](super::fixed) digits, codes as bytes.
//!
//! * A lane has 8 or 16 neighbouring columns, which belong to one group, and a vector four codes of every lane. Digits
//!   are multiplied from the highest down, the sum moved up by a digit between them, so that one 32-bit sum holds the exact
//!   sum of `(code - zero) * x` over a lane. It becomes a number once a block, and is scaled then.
//! * `zero` times the sum of the lane's activations is taken off at the end; being integers, these lose nothing.
//! * Rows of the weight come from memory four at a time, and the next four are fetched meanwhile in the order in which they
//!   lie: hardware follows four streams of a few KB each less well.
//! * Multiplying takes longer than spreading codes, so codes are spread again for every two rows of x; those of 2 bits, which
//!   fill 16 vectors, for every one.

use std::ops::Range;

use super::LANES;
use super::columns::Target;
use super::fixed::{DIGITS, Fixed, block_columns, block_lines, lane_columns, parts, planes};
use super::simd::{self, ByteDots, Line, Run, RunBytes, Simd};
use super::stored::{Stored, elements};
use super::weight::{Groups, Weight};

/// Words of a block of codes.
const fn block_words(bits: u32) -> usize {
    block_columns(bits) * bits as usize / 32
}

/// Words that are read for a block.
const fn loaded(bits: u32) -> usize {
    if bits == 8 { 2 * LANES } else { LANES }
}

/// Rows of the weight that are taken together.
const ROWS: usize = 4;

/// Most rows of x that one pass over the weight serves: as digits they should stay in the caches while it goes by.
const PASS: usize = 64;

/// The shortest group that pays: each ends with a sum over lanes, its scale and its zero point. With groups of 32 this takes
/// two to four times as long as floats do.
const SHORTEST_GROUP: u32 = 128;

/// The product, if the processor has the instructions and the weight and x are fit for them; false if nothing was done.
pub fn products<T: Stored, const B: u32>(w: Weight<'_>, x: &[f32], target: Target, out: &mut [f32]) -> bool {
    let p = w.p;
    let one_group = p.groups_per_row <= 1;
    let fits = one_group || p.group >= SHORTEST_GROUP && (p.group as usize).is_multiple_of(lane_columns(B));
    if !fits || !simd::has_byte_dots() {
        return false;
    }
    let (cols, batch) = (p.cols as usize, p.batch as usize);
    let Some(x) = Fixed::new::<B>(x, cols) else { return false };
    let lanes = if one_group { usize::MAX } else { p.group as usize / lane_columns(B) };
    let groups = Groups::new(cols.div_ceil(block_columns(B)), lanes);
    let weight = Packed::<B> { w, groups: &groups, decode: decode_groups::<T> };
    target.by_passes(batch, PASS, cols, out, |part, first, y| {
        simd::run_bytes(Pass { weight, x: &x, part: part.start, batch: part.len(), first, y });
    });
    true
}

/// Scales and zero points of the groups of a row; those of the row that comes [`ROWS`] later are fetched meanwhile.
fn decode_groups<T: Stored>(w: Weight<'_>, row: usize, scales: &mut [f32], zeros: &mut [u32]) {
    let (group, count) = w.groups(row);
    simd::run(Decode::<T> { from: elements(w.scales), range: group..group + count, ahead: ROWS * count, to: scales });
    if let Some(stored) = w.zeros {
        zeros.iter_mut().zip(&stored[group..][..count]).for_each(|(zero, stored)| *zero = u32::from(*stored));
    }
}

/// The values of a range of elements; those that come so many later are fetched.
struct Decode<'a, T> {
    from: &'a [T],
    range: Range<usize>,
    ahead: usize,
    to: &'a mut [f32],
}

impl<T: Stored> Run for Decode<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for next in self.range.clone().step_by(64 / size_of::<T>()) {
            simd.prefetch(self.from, next + self.ahead);
        }
        let (from, from_rest) = self.from[self.range].as_chunks();
        let (to, to_rest) = self.to.as_chunks_mut();
        let whole = from.len();
        from.iter().zip(to.iter_mut()).for_each(|(from, to)| simd.store(T::load(simd, from), to));
        let rest = to.get_mut(whole).map_or(to_rest, |to| &mut to[..]);
        from_rest.iter().zip(rest).for_each(|(from, to)| *to = from.value());
    }
}

#[derive(Clone, Copy)]
struct Packed<'a, const B: u32> {
    w: Weight<'a>,
    groups: &'a Groups,
    /// [`decode_groups`] for the type of the scales.
    decode: fn(Weight<'_>, usize, &mut [f32], &mut [u32]),
}

/// `batch` rows of x from `part` on with the rows of the weight from `first` on; `y` is `[rows, batch]`.
struct Pass<'a, const B: u32> {
    weight: Packed<'a, B>,
    x: &'a Fixed,
    part: usize,
    batch: usize,
    first: usize,
    y: &'a mut [f32],
}

impl<const B: u32> RunBytes for Pass<'_, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: ByteDots>(self, simd: S) {
        let Self { weight: Packed { w, groups, decode }, x, part, batch, first, y } = self;
        // Sixteen from any group on.
        let stride = w.groups(0).1 + LANES;
        let (mut scales, mut zeros) = (vec![0.0; ROWS * stride], vec![0; ROWS * stride]);
        let rows = first + y.len() / batch;
        let length = (ROWS - 1) * w.stride() + groups.index.len() * block_words(B) + loaded(B) - block_words(B);
        let mut end = vec![];
        for (i, y) in y.chunks_mut(ROWS * batch).enumerate() {
            let row = first + i * ROWS;
            for (r, row) in (row..rows.min(row + ROWS)).enumerate() {
                decode(w, row, &mut scales[r * stride..][..stride], &mut zeros[r * stride..][..stride]);
            }
            let mut words = w.from(row);
            if words.len() < length {
                end.clear();
                end.extend_from_slice(words);
                end.resize(length, 0);
                words = &end;
            }
            let mut four = Four::<B> {
                words,
                stride: w.stride(),
                ahead: if row + ROWS < w.p.rows as usize { w.from(row + ROWS) } else { words },
                groups,
                scales: &scales,
                zeros: &zeros,
            };
            // The odd one first: memory takes its time then.
            let mut b = 0;
            while b < batch {
                let (to, n) = (&mut *y, if B == 2 || (batch - b) % 2 == 1 { 1 } else { 2 });
                match (n, w.zeros) {
                    (1, None) => four.dots::<S, 1, true>(simd, x, part + b, to, b, batch),
                    (1, Some(_)) => four.dots::<S, 1, false>(simd, x, part + b, to, b, batch),
                    (_, None) => four.dots::<S, 2, true>(simd, x, part + b, to, b, batch),
                    (_, Some(_)) => four.dots::<S, 2, false>(simd, x, part + b, to, b, batch),
                }
                // The first have fetched it all; fetching what is there costs nothing.
                four.ahead = words;
                b += n;
            }
        }
    }
}

/// Rows of a weight that are taken together.
struct Four<'a, const B: u32> {
    /// From the first row on; behind the last row as much as [`loaded`] together.
    words: &'a [u32],
    /// Words of a row.
    stride: usize,
    /// What comes after them, to be fetched.
    ahead: &'a [u32],
    groups: &'a Groups,
    /// Of each row, with room for 16 from any group on.
    scales: &'a [f32],
    zeros: &'a [u32],
}

impl<const B: u32> Four<'_, B> {
    /// Products with `NB` rows of x, to columns from `column` on of `y`, `[rows, width]`.
    #[inline(always)]
    fn dots<S: ByteDots, const NB: usize, const MIDDLE: bool>(
        &self,
        simd: S,
        x: &Fixed,
        first: usize,
        y: &mut [f32],
        column: usize,
        width: usize,
    ) {
        let sums = self.sums::<S, NB, MIDDLE>(simd, std::array::from_fn(|n| x.row(first + n)));
        for (y, sums) in y.chunks_exact_mut(width).zip(sums) {
            y[column..][..NB].copy_from_slice(&sums);
        }
    }

    #[inline(always)]
    fn sums<S: ByteDots, const NB: usize, const MIDDLE: bool>(
        &self,
        simd: S,
        x: [(&[Line], &[f32]); NB],
    ) -> [[f32; NB]; ROWS] {
        let stride = self.scales.len() / ROWS;
        let scales: &[u32] = bytemuck::must_cast_slice(self.scales);
        let mut totals = [[simd.zero(); NB]; ROWS];
        for (block, (index, group)) in self.groups.index.iter().zip(&self.groups.first).enumerate() {
            let index = simd.words(index);
            let mut x_lines: [&[Line]; NB] = [&[]; NB];
            x_lines.iter_mut().zip(x).for_each(|(lines, x)| *lines = &x.0[block * block_lines(B)..][..block_lines(B)]);
            let codes = spread::<S, B>(simd, self.words, self.stride, block * block_words(B));
            let scales = simd.load_rows::<ROWS>(scales, stride, *group);
            let zeros = simd.load_rows::<ROWS>(self.zeros, stride, *group);
            for part in 0..parts(B) {
                // Four lines at once, at most.
                let lines = ROWS * block_words(B) / LANES / parts(B);
                for line in 0..lines {
                    simd.prefetch(self.ahead, ((block * parts(B) + part) * lines + line) * LANES);
                }
                let mut sums = [[simd.splat(0); NB]; ROWS];
                for digit in digits(B, part) {
                    add_digit::<S, B, NB>(simd, digit, &codes, &x_lines, &mut sums);
                }
                for n in 0..NB {
                    let minus_x = simd.words(&x_lines[n][DIGITS * planes(B) + part].0);
                    let minus_middle = simd.shift_left(minus_x, B - 1);
                    let unit = x[n].1[block] * if part + 1 < parts(B) { 256.0 } else { 1.0 };
                    let unit = simd.number(simd.splat(unit.to_bits()));
                    for r in 0..ROWS {
                        let minus_zero = if MIDDLE {
                            minus_middle
                        } else {
                            simd.multiply_words(simd.permute(zeros[r], index), minus_x)
                        };
                        let sum = simd.integer(simd.add(sums[r][n], minus_zero));
                        let scale = simd.number(simd.permute(scales[r], index));
                        totals[r][n] = simd.multiply_add(sum, simd.multiply(scale, unit), totals[r][n]);
                    }
                }
            }
        }
        let totals = simd::stored(simd, &totals);
        std::array::from_fn(|r| std::array::from_fn(|n| simd::total(&totals[r][n])))
    }
}

/// The digits that are summed together.
const fn digits(bits: u32, part: usize) -> Range<usize> {
    match (parts(bits), part) {
        (1, _) => 0..DIGITS,
        (_, 0) => 0..DIGITS - 1,
        _ => DIGITS - 1..DIGITS,
    }
}

/// Adds the products of a digit, to sums that are moved up if a higher digit is in them.
#[inline(always)]
fn add_digit<S: ByteDots, const B: u32, const NB: usize>(
    simd: S,
    digit: usize,
    codes: &[[S::W; 4]; ROWS],
    x: &[&[Line]; NB],
    sums: &mut [[S::W; NB]; ROWS],
) {
    if digit > 0 {
        sums.iter_mut().flatten().for_each(|sum| *sum = simd.shift_left(*sum, 8));
    }
    for plane in 0..planes(B) {
        for n in 0..NB {
            let x = simd.words(&x[n][digit * planes(B) + plane].0);
            for r in 0..ROWS {
                sums[r][n] = simd.dot(sums[r][n], codes[r][plane], x);
            }
        }
    }
}

/// The codes of a block, one a byte, in [`planes`].
#[inline(always)]
fn spread<S: ByteDots, const B: u32>(simd: S, words: &[u32], stride: usize, at: usize) -> [[S::W; 4]; ROWS] {
    let mut codes = [[simd.splat(0); 4]; ROWS];
    let first = simd.load_rows::<ROWS>(words, stride, at);
    let second = if B == 8 { simd.load_rows::<ROWS>(words, stride, at + LANES) } else { first };
    for r in 0..ROWS {
        if B == 3 {
            [codes[r][0], codes[r][1]] = simd.eights_of_3_bits(first[r]);
        } else if B == 8 {
            [codes[r][0], codes[r][1]] = simd.every_other(first[r], second[r]);
        } else {
            let mask = simd.splat(0x0101_0101 * ((1 << B) - 1));
            #[allow(clippy::needless_range_loop, reason = "the plane is a place in bytes first")]
            for plane in 0..planes(B) {
                codes[r][plane] = simd.and(simd.shift_right(first[r], plane as u32 * B), mask);
            }
        }
    }
    codes
}
