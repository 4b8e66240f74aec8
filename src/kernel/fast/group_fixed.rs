//! Products with a packed weight through products of bytes: activations as [`fixed`](super::fixed) digits, codes as bytes.
//!
//! * A lane has 8 or 16 neighbouring columns, which belong to one group, and a vector four codes of every lane. Digits
//!   are multiplied from the highest down, the sum moved up by a digit between them, so that one 32-bit sum holds the exact
//!   sum of `(code - zero) * x` over a lane. It becomes a number once a block, and is scaled then.
//! * `zero` times the sum of the lane's activations is taken off at the end; being integers, these lose nothing.
//! * Rows of the weight come from memory four at a time, from four long streams: the quarters of a task's rows. Memory
//!   answers them a quarter faster than one, and much faster than streams of a few KB, which end before hardware follows.
//!   Each stream is fetched to the second cache a row ahead.
//! * Activations of int8 are integers of one digit, whose scales are multiplied into those of the weight.
//! * Multiplying takes longer than spreading codes, so codes are spread again for every two rows of x; those of 2 bits, which
//!   fill 16 vectors, for every one.

use std::ops::Range;

use super::LANES;
use super::columns::Target;
use super::digit_sums::{add_digit, by_planes, digits};
use super::fixed::{Fixed, block_columns, block_lines, lane_columns, parts, planes};
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
pub const ROWS: usize = 4;

/// Most rows of x that one pass over the weight serves: as digits they should stay in the caches while it goes by.
const PASS: usize = 64;

/// The shortest group that pays: each ends with a sum over lanes, its scale and its zero point. With groups of 32 this takes
/// two to four times as long as floats do.
const SHORTEST_GROUP: u32 = 128;

/// The product, if the processor has the instructions and the weight and x are fit for them; false if nothing was done.
pub fn products<T: Stored, const B: u32>(w: Weight<'_>, x: &[f32], target: Target<'_>, out: &mut [f32]) -> bool {
    let p = w.p;
    let one_group = p.groups_per_row <= 1;
    let fits = one_group || p.group >= SHORTEST_GROUP && (p.group as usize).is_multiple_of(lane_columns(B));
    if !fits || !simd::has_byte_dots() {
        return false;
    }
    let (cols, batch) = (p.cols as usize, p.batch as usize);
    let Some(x) = Fixed::new::<B>(x, cols) else { return false };
    let (group, block) = (p.group as usize, block_columns(B));
    // One row of x can have the units of its blocks in the scales, if no block has two of these.
    let whole = batch == 1 && (one_group || group.is_multiple_of(block));
    let (lanes, x_scales) = match whole {
        true => (LANES, x.row(0).1),
        false if one_group => (usize::MAX, &[][..]),
        false => (group / lane_columns(B), &[][..]),
    };
    let groups = Groups::new(cols.div_ceil(block), lanes);
    let weight = Packed::<B>::new::<T>(w, &groups, x_scales, block, whole);
    target.by_passes(batch, PASS, cols, out, |part, first, y| {
        simd::run_bytes(Pass { weight, x: &x, part: part.start, batch: part.len(), first, y });
    });
    true
}

/// Whether [`int8_row`] takes activations that share scales by blocks of so many columns.
pub fn fits_int8<const B: u32>(cols: usize, block: usize) -> bool {
    // Other processors gather bytes of 3 bits more slowly than they turn words of many rows.
    (B != 3 || simd::has_byte_dots()) && (block >= cols || block.is_multiple_of(lane_columns(B)))
}

/// The product with a row of int8 activations, whose scales are for blocks of so many columns.
pub fn int8_row<T: Stored, const B: u32>(
    w: Weight<'_>,
    (x, x_scales): (&[i8], &[f32]),
    block: usize,
    target: Target<'_>,
    out: &mut [f32],
) {
    let p = w.p;
    let lanes = if x_scales.len() <= 1 { usize::MAX } else { block / lane_columns(B) };
    let groups = Groups::new(x.len().div_ceil(block_columns(B)), lanes);
    let mut weight =
        Packed::<B>::new::<T>(w, &groups, x_scales, block, x_scales.len() <= 1 || lanes.is_multiple_of(LANES));
    weight.once = x_scales.len() == 1 && p.groups_per_row <= 1;
    let fixed = Fixed::bytes::<B>(x);
    target.by_passes(1, 1, x.len(), out, |_, first, y| {
        simd::run_bytes(Pass { weight, x: &fixed, part: 0, batch: 1, first, y: &mut *y });
        if weight.once {
            let scale = |row| elements::<T>(w.scales)[w.groups(row).0].value() * x_scales[0];
            y.iter_mut().enumerate().for_each(|(i, y)| *y *= scale(first + i));
        }
    });
}

/// Scales and zero points of the groups of a row; those of the row after it are fetched meanwhile.
fn decode_groups<T: Stored>(w: Weight<'_>, row: usize, scales: &mut [f32], zeros: &mut [u32]) {
    let (group, count) = w.groups(row);
    simd::run(Decode::<T> { from: elements(w.scales), range: group..group + count, ahead: count, to: scales });
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
    /// Scales of the one row of x by the blocks that `groups` tells of, or none.
    x_scales: &'a [f32],
    /// Such blocks in a group of the weight.
    blocks_per_group: usize,
    /// Whether a block of codes has one scale, which has all of those of x in it.
    whole: bool,
    /// Whether a row of integers has one scale, which comes when all are added; so their sum is as good as an integer.
    once: bool,
    /// [`decode_groups`] for the type of the scales.
    decode: fn(Weight<'_>, usize, &mut [f32], &mut [u32]),
}

impl<'a, const B: u32> Packed<'a, B> {
    /// `x_scales` are for blocks of so many columns.
    fn new<T: Stored>(w: Weight<'a>, groups: &'a Groups, x_scales: &'a [f32], block: usize, whole: bool) -> Self {
        let blocks_per_group = if w.p.groups_per_row <= 1 { usize::MAX } else { w.p.group as usize / block };
        Self { w, groups, x_scales, blocks_per_group, whole, once: false, decode: decode_groups::<T> }
    }

    /// Scales and zero points of a row.
    #[inline(always)]
    fn decode(&self, row: usize, scales: &mut [f32], zeros: &mut [u32]) {
        (self.decode)(self.w, row, scales, zeros);
        if self.once {
            scales[0] = 1.0;
            return;
        }
        if self.blocks_per_group > 1 {
            // From the last on, as no group comes after its blocks.
            for block in (0..self.x_scales.len()).rev() {
                let group = block / self.blocks_per_group;
                (scales[block], zeros[block]) = (scales[group], zeros[group]);
            }
        }
        scales.iter_mut().zip(self.x_scales).for_each(|(scale, x_scale)| *scale *= x_scale);
    }
}

/// `batch` rows of x from `part` on with the rows of the weight from `first` on; `y` is `[rows, batch]`.
struct Pass<'a, const B: u32, const D: usize> {
    weight: Packed<'a, B>,
    x: &'a Fixed<D>,
    part: usize,
    batch: usize,
    first: usize,
    y: &'a mut [f32],
}

impl<const B: u32, const D: usize> RunBytes for Pass<'_, B, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: ByteDots>(self, simd: S) {
        let Self { weight, x, part, batch, first, y } = self;
        let Packed { w, groups, x_scales, .. } = weight;
        // Sixteen from any group on.
        let stride = w.groups(0).1.max(x_scales.len()) + LANES;
        let (mut scales, mut zeros) = (vec![0.0; ROWS * stride], vec![0; ROWS * stride]);
        // Streams of equal length, which share a row or more where the rows are not a multiple of them.
        let rows = y.len() / batch;
        let apart = rows / ROWS;
        let padded = w.stride().max(groups.index.len() * block_words(B) + loaded(B) - block_words(B));
        let mut end = vec![];
        for i in 0..rows - (ROWS - 1) * apart {
            for r in 0..ROWS {
                weight.decode(
                    first + i + r * apart,
                    &mut scales[r * stride..][..stride],
                    &mut zeros[r * stride..][..stride],
                );
            }
            let mut four = Four::<B, D> {
                words: w.from(first + i),
                apart: apart * w.stride(),
                ahead: w.stride(),
                groups,
                scales: &scales,
                zeros: &zeros,
            };
            if four.words.len() < four.apart * (ROWS - 1) + padded {
                end.clear();
                for r in 0..ROWS {
                    end.extend_from_slice(w.row(first + i + r * apart));
                    end.resize((r + 1) * padded, 0);
                }
                (four.words, four.apart) = (&end, padded);
            }
            let y = &mut y[i * batch..];
            // The odd one first: memory takes its time then.
            let mut b = 0;
            while b < batch {
                let (to, n) = (&mut *y, if B == 2 || (batch - b) % 2 == 1 { 1 } else { 2 });
                let at = (apart * batch, b);
                match (n, w.zeros, weight.whole) {
                    (1, None, true) => four.dots::<S, 1, true, true>(simd, x, part + b, to, at),
                    (1, None, false) => four.dots::<S, 1, true, false>(simd, x, part + b, to, at),
                    (1, Some(_), true) => four.dots::<S, 1, false, true>(simd, x, part + b, to, at),
                    (1, Some(_), false) => four.dots::<S, 1, false, false>(simd, x, part + b, to, at),
                    (_, None, _) => four.dots::<S, 2, true, false>(simd, x, part + b, to, at),
                    (_, Some(_), _) => four.dots::<S, 2, false, false>(simd, x, part + b, to, at),
                }
                // The first have fetched it all; fetching what is there costs nothing.
                four.ahead = 0;
                b += n;
            }
        }
    }
}

/// Rows of a weight that are taken together.
struct Four<'a, const B: u32, const D: usize> {
    /// From the first row on; behind the last row as much as [`loaded`] together.
    words: &'a [u32],
    /// Words from one row to the next.
    apart: usize,
    /// Words between those that are read and those that are fetched.
    ahead: usize,
    groups: &'a Groups,
    /// Of each row, with room for 16 from any group on.
    scales: &'a [f32],
    zeros: &'a [u32],
}

impl<const B: u32, const D: usize> Four<'_, B, D> {
    /// Products with `NB` rows of x; those of the first row of the weight go to `column` of `y` on, those of the next rows
    /// `width` further each.
    #[inline(always)]
    fn dots<S: ByteDots, const NB: usize, const MIDDLE: bool, const WHOLE: bool>(
        &self,
        simd: S,
        x: &Fixed<D>,
        first: usize,
        y: &mut [f32],
        (width, column): (usize, usize),
    ) {
        let sums = self.sums::<S, NB, MIDDLE, WHOLE>(simd, std::array::from_fn(|n| x.row(first + n)));
        for (r, sums) in sums.iter().enumerate() {
            y[r * width + column..][..NB].copy_from_slice(sums);
        }
    }

    /// `MIDDLE`: the zero point is the middle code. `WHOLE`: see [`Packed::whole`].
    #[inline(always)]
    fn sums<S: ByteDots, const NB: usize, const MIDDLE: bool, const WHOLE: bool>(
        &self,
        simd: S,
        x: [(&[Line], &[f32]); NB],
    ) -> [[f32; NB]; ROWS] {
        let stride = self.scales.len() / ROWS;
        let mut totals = [[simd.zero(); NB]; ROWS];
        for (block, (index, group)) in self.groups.index.iter().zip(&self.groups.first).enumerate() {
            let index = simd.words(index);
            let mut x_lines: [&[Line]; NB] = [&[]; NB];
            let lines = const { block_lines(B, D) };
            x_lines.iter_mut().zip(x).for_each(|(to, x)| *to = &x.0[block * lines..][..lines]);
            let at = block * block_words(B);
            let codes = spread::<S, B>(simd, self.words, self.apart, at);
            let (mut scales, mut zeros) = ([simd.splat(0); ROWS], [simd.splat(0); ROWS]);
            if WHOLE {
                for r in 0..ROWS {
                    scales[r] = simd.splat(self.scales[r * stride + group].to_bits());
                    zeros[r] = simd.splat(self.zeros[r * stride + group]);
                }
            } else {
                scales = simd.load_rows(bytemuck::must_cast_slice(self.scales), stride, *group);
                zeros = simd.load_rows(self.zeros, stride, *group);
                for r in 0..ROWS {
                    (scales[r], zeros[r]) = (simd.permute(scales[r], index), simd.permute(zeros[r], index));
                }
            }
            for part in 0..parts(B, D) {
                for r in 0..ROWS {
                    for line in (part..const { block_words(B).div_ceil(LANES) }).step_by(parts(B, D)) {
                        simd.prefetch(self.words, r * self.apart + at + line * LANES + self.ahead);
                    }
                }
                let mut sums = [[simd.splat(0); NB]; ROWS];
                if B == 2 {
                    for n in 0..NB {
                        let found = by_planes::<S, D>(simd, self.words, self.apart, at, x_lines[n]);
                        for r in 0..ROWS {
                            sums[r][n] = found[r];
                        }
                    }
                } else {
                    for digit in digits(B, D, part) {
                        add_digit::<S, B, NB>(simd, digit, &codes, &x_lines, &mut sums);
                    }
                }
                for n in 0..NB {
                    let minus_x = simd.words(&x_lines[n][D * planes(B) + part].0);
                    let minus_middle = simd.shift_left(minus_x, B - 1);
                    let unit = if WHOLE || D == 1 { 1.0 } else { x[n].1[block] };
                    let unit = unit * if part + 1 < parts(B, D) { 256.0 } else { 1.0 };
                    for r in 0..ROWS {
                        let minus_zero = if MIDDLE { minus_middle } else { simd.multiply_words(zeros[r], minus_x) };
                        let sum = simd.integer(simd.add(sums[r][n], minus_zero));
                        let mut scale = simd.number(scales[r]);
                        if part + 1 < parts(B, D) || !WHOLE && D > 1 {
                            scale = simd.multiply(scale, simd::in_all(simd, unit));
                        }
                        totals[r][n] = simd.multiply_add(sum, scale, totals[r][n]);
                    }
                }
            }
        }
        let totals = simd::stored(simd, &totals);
        std::array::from_fn(|r| std::array::from_fn(|n| simd::total(&totals[r][n])))
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
