//! Fast [`MatvecGroup`](crate::kernel::matvec_group), limited by how fast codes come from memory if all goes well.
//!
//! * Lanes are neighbouring words, not neighbouring codes: a shift brings one code of each of 16 words to its place, and
//!   nothing is ever unpacked. The activations are put into that order once a call, which all rows then use.
//! * A code becomes a number without a conversion: its bits, masked where they stand, become the low significand of
//!   `2^23`, and the zero point's bits at the same place are subtracted the same way. The difference is exact, `code - zero`
//!   times a power of two which the activations were divided by. So codes are not even shifted one by one: a window of
//!   23 bits holds several.
//! * A lane belongs to one group within 16 words, so a scale is applied once for all codes of a word.
//! * Several rows are taken at once, for each activation that is loaded.

use super::LANES;
use super::columns::Target;
use super::group_dequantize::dequantize_row;
use super::group_fixed;
use super::matvec::{PASS, by_vectors, dots, rows_of};
use super::simd::{self, Lanes, Run, Simd, Words};
use super::stored::{Stored, by_dtype, decode, decoded, elements};
use super::stream::{by_bits, padded};
use super::weight::{Groups, Weight};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::product::GroupParams;

/// Codes of a word, those that begin in it: with 3 bits 10 lie within every word, and in two words of three one more
/// goes on into the next word.
const fn places(bits: u32) -> usize {
    32usize.div_ceil(bits as usize)
}

/// Codes that fit a significand together.
const fn window_codes(bits: u32) -> usize {
    23 / bits as usize
}

/// A code at every position of a window.
const fn repeated(code: u32, bits: u32) -> u32 {
    let (mut all, mut i) = (0, 0);
    while i < window_codes(bits) {
        all |= code << (i as u32 * bits);
        i += 1;
    }
    all
}

/// For 3 bits, of each word of three blocks: where its first code begins, and how far the code that goes on into the
/// next word is to be moved, right in this one and left in the next. Shifts by 32 leave nothing.
const PHASES: [[Words; 3]; 3] = {
    let mut all = [[[0; LANES]; 3]; 3];
    let mut i = 0;
    while i < 3 * LANES {
        all[i / LANES][0][i % LANES] = [0, 1, 2][i % 3];
        all[i / LANES][1][i % LANES] = [30, 31, 32][i % 3];
        all[i / LANES][2][i % LANES] = [2, 1, 32][i % 3];
        i += 1;
    }
    all
};

pub fn run(p: &GroupParams, variant: &Variant, bindings: Bindings<'_>) {
    let [x, codes, scales, zeros, bias, mut out] = bindings.take();
    let target = target(p, p.bias_of(&bias));
    let w = Weight::new(p, variant, codes.words(), scales.words(), zeros.words());
    let x = decoded(variant.dtype(Role::Activation), x.words(), p.batch as usize * p.cols as usize);
    by_dtype!(variant.dtype(Role::Scale), by_width(variant.get("BITS"), w, &x, target, out.f32_mut()));
}

fn by_width<T: Stored>(bits: u32, w: Weight<'_>, x: &[f32], target: Target<'_>, out: &mut [f32]) {
    by_bits!(bits, products::<T>(w, x, target, out));
}

/// Where the results of a packed weight go.
pub(super) fn target<'a>(p: &GroupParams, bias: Option<&'a [f32]>) -> Target<'a> {
    Target { rows: p.rows as usize, offset: p.out_offset as usize, stride: p.out_stride as usize, bias }
}

fn products<T: Stored, const B: u32>(w: Weight<'_>, x: &[f32], target: Target<'_>, out: &mut [f32]) {
    let p = w.p;
    let (cols, batch) = (p.cols as usize, p.batch as usize);
    if group_fixed::products::<T, B>(w, x, target, out) {
        return;
    }
    if p.groups_per_row > 1 && !(p.group * B).is_multiple_of(32) {
        let x = by_vectors(x, cols);
        return target.by_passes(batch, PASS, cols, out, |part, first, y| {
            unpacked_rows::<T, B>(w, rows_of(&x, &part, batch), part.len(), first, y);
        });
    }
    let words = if p.groups_per_row <= 1 { usize::MAX } else { (p.group * B / 32) as usize };
    let groups = Groups::new((p.words_per_row as usize).div_ceil(LANES), words);
    let x = arranged::<B>(x, cols, groups.index.len());
    let weight = Rows { w, groups: &groups, first: 0, decode: decode_groups::<T, B> };
    target.by_passes(batch, PASS, cols, out, |part, first, y| {
        let (rows, x) = (Rows { first, ..weight }, rows_of(&x, &part, batch));
        match part.len() {
            1 if w.zeros.is_none() => simd::run(Dots::<B, 1, 4, true> { rows, x, y }),
            1 => simd::run(Dots::<B, 1, 4, false> { rows, x, y }),
            2 => simd::run(Dots::<B, 2, 4, false> { rows, x, y }),
            3 => simd::run(Dots::<B, 3, 4, false> { rows, x, y }),
            4 => simd::run(Dots::<B, 4, 4, false> { rows, x, y }),
            5 => simd::run(Dots::<B, 5, 2, false> { rows, x, y }),
            6 => simd::run(Dots::<B, 6, 2, false> { rows, x, y }),
            7 => simd::run(Dots::<B, 7, 2, false> { rows, x, y }),
            _ => simd::run(Dots::<B, 8, 2, false> { rows, x, y }),
        }
    });
}

/// The activations of `[batch, cols]` in the order in which codes are met: blocks of 16 words; in a block, codes by their
/// place in a word; for each place 16 lanes. Divided by the power of two that the place multiplies a code by. Another
/// vector parts the rows, as in [`by_vectors`].
fn arranged<const B: u32>(x: &[f32], cols: usize, blocks: usize) -> Vec<Lanes> {
    let row = blocks * places(B) + 1;
    let mut all = vec![Lanes::default(); x.len() / cols.max(1) * row];
    for (x, all) in x.chunks_exact(cols.max(1)).zip(all.chunks_exact_mut(row)) {
        for word in 0..blocks * LANES {
            let first = (word * 32).div_ceil(B as usize).min(cols);
            let after = ((word + 1) * 32).div_ceil(B as usize).min(cols);
            for (place, x) in x[first..after].iter().enumerate() {
                // The code between two words is moved to the bottom.
                let position = if B == 3 && place == 10 { 0 } else { place % window_codes(B) };
                let factor = f32::from_bits((127 - position as u32 * B) << 23);
                all[word / LANES * places(B) + place].0[word % LANES] = x * factor;
            }
        }
    }
    all
}

/// Rows one by one through their dequantized values, for groups that share words.
fn unpacked_rows<T: Stored, const B: u32>(w: Weight<'_>, x: &[Lanes], batch: usize, first: usize, y: &mut [f32]) {
    let cols = w.p.cols as usize;
    let (mut bytes, mut values) = (vec![0; padded(cols)], vec![0.0; cols]);
    for (i, y) in y.chunks_exact_mut(batch).enumerate() {
        let row = first + i;
        let (group, count) = w.groups(row);
        let mut scales = vec![0.0; count];
        decode(&elements::<T>(w.scales)[group..], &mut scales);
        let zero = |k| w.zeros.map_or((1 << (B - 1)) as f32, |z| f32::from(z[group + k]));
        let zeros: Vec<f32> = (0..count).map(zero).collect();
        dequantize_row::<B>(w.row(row), &mut bytes, 0, w.p.group as usize, &scales, &zeros, &mut values);
        dots(&values, x, batch, cols, y);
    }
}

/// Rows of a weight from `first`.
#[derive(Clone, Copy)]
struct Rows<'a> {
    w: Weight<'a>,
    groups: &'a Groups,
    first: usize,
    /// [`decode_groups`] for the type of the scales.
    decode: fn(Weight<'_>, usize, &mut [f32], &mut [u32]),
}

/// Scales and repeated zero points of the groups of a row.
fn decode_groups<T: Stored, const B: u32>(w: Weight<'_>, row: usize, scales: &mut [f32], zeros: &mut [u32]) {
    let (group, count) = w.groups(row);
    decode(&elements::<T>(w.scales)[group..][..count], scales);
    if let Some(stored) = w.zeros {
        let repeated = stored[group..][..count].iter().map(|z| u32::from(*z) * const { repeated(1, B) });
        zeros.iter_mut().zip(repeated).for_each(|(zero, repeated)| *zero = repeated);
    }
}

/// `NB` rows of x with `R` rows of the weight at a time: at most 16 sums, half the registers of AVX-512. `MIDDLE`: the
/// zero point is the middle code, a constant.
struct Dots<'a, const B: u32, const NB: usize, const R: usize, const MIDDLE: bool> {
    rows: Rows<'a>,
    x: &'a [Lanes],
    y: &'a mut [f32],
}

impl<const B: u32, const NB: usize, const R: usize, const MIDDLE: bool> Run for Dots<'_, B, NB, R, MIDDLE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Rows { w, groups, first, decode } = self.rows;
        // Sixteen from any group on.
        let stride = w.groups(0).1 + LANES;
        let mut scales = vec![0.0; R * stride];
        let mut zeros = vec![const { repeated(1 << (B - 1), B) }; R * stride];
        let y = self.y.as_chunks_mut::<NB>().0;
        let last = first + y.len().saturating_sub(1);
        for (i, y) in y.chunks_mut(R).enumerate() {
            let mut words: [&[u32]; R] = [&[]; R];
            for (r, words) in words.iter_mut().enumerate() {
                // At the end the last row stands in for those that are missing.
                let row = (first + i * R + r).min(last);
                *words = w.row(row);
                decode(w, row, &mut scales[r * stride..][..stride], &mut zeros[r * stride..][..stride]);
            }
            let ahead = w.from(first + (i + 1) * R);
            let sums = several::<S, B, NB, R, MIDDLE>(simd, words, ahead, self.x, groups, &scales, &zeros);
            y.iter_mut().zip(sums).for_each(|(y, sums)| *y = sums);
        }
    }
}

#[inline(always)]
fn several<S: Simd, const B: u32, const NB: usize, const R: usize, const MIDDLE: bool>(
    simd: S,
    words: [&[u32]; R],
    ahead: &[u32],
    x: &[Lanes],
    groups: &Groups,
    scales: &[f32],
    zeros: &[u32],
) -> [[f32; NB]; R] {
    let stride = scales.len() / R;
    // Blocks that are there whole; with 3 bits the word after a block is read with it.
    let whole = if B == 3 { words[0].len().saturating_sub(1) } else { words[0].len() } / LANES;
    let mut blocks: [[&[Words]; 2]; R] = [[&[]; 2]; R];
    let mut tails = [[[0; LANES]; 2]; R];
    for r in 0..R {
        for next in 0..2 {
            let words = words[r].get(next..).unwrap_or_default();
            blocks[r][next] = words.as_chunks().0.get(..whole).unwrap_or_default();
            let rest = &words[words.len().min(whole * LANES)..];
            let n = rest.len().min(LANES);
            tails[r][next][..n].copy_from_slice(&rest[..n]);
        }
    }
    let mut xs: [_; NB] = std::array::from_fn(|b| x[x.len() / NB * b..][..x.len() / NB].chunks_exact(places(B)));
    let mut sums = [[simd.zero(); NB]; R];
    for (block, (index, first)) in groups.index.iter().zip(&groups.first).enumerate() {
        let index = simd.words(index);
        // The next rows, in the order in which they lie: hardware follows several streams of a few KB each less well.
        for line in block * R..(block + 1) * R {
            simd.prefetch(ahead, line * LANES);
        }
        let mut codes = [[simd.splat(0); 2]; R];
        let mut z = [simd.splat(const { repeated(1 << (B - 1), B) }); R];
        for r in 0..R {
            for next in 0..if B == 3 { 2 } else { 1 } {
                codes[r][next] = simd.words(blocks[r][next].get(block).unwrap_or(&tails[r][next]));
            }
            if !MIDDLE {
                z[r] = simd.pick(lanes_at(zeros, r * stride + first), index);
            }
        }
        let mut x: [&[Lanes]; NB] = [&[]; NB];
        x.iter_mut().zip(&mut xs).for_each(|(x, xs)| *x = xs.next().unwrap_or_default());
        let mut scale = [simd.zero(); R];
        for (r, scale) in scale.iter_mut().enumerate() {
            let window = lanes_at(bytemuck::must_cast_slice(scales), r * stride + first);
            *scale = simd.number(simd.pick(window, index));
        }
        let phases = &PHASES[block % 3];
        if NB > FEW {
            add_block::<S, B, NB, R>(simd, phases, codes, z, Some(scale), x, &mut sums);
        } else {
            let mut partial = [[simd.zero(); NB]; R];
            add_block::<S, B, NB, R>(simd, phases, codes, z, None, x, &mut partial);
            for r in 0..R {
                for b in 0..NB {
                    sums[r][b] = simd.multiply_add(partial[r][b], scale[r], sums[r][b]);
                }
            }
        }
    }
    let sums = simd::stored(simd, &sums);
    std::array::from_fn(|r| std::array::from_fn(|b| simd::total(&sums[r][b])))
}

/// Rows of x for which sums of their own for each block, scaled at its end, fit the registers beside the sums of the
/// row; with more, each code is scaled.
const FEW: usize = 4;

/// Adds `(code - zero) * scale * x` over a block, without `scale` if there is none; `words` are its words, and for 3 bits
/// those one further on.
#[inline(always)]
fn add_block<S: Simd, const B: u32, const NB: usize, const R: usize>(
    simd: S,
    [begins, right, left]: &[Words; 3],
    words: [[S::W; 2]; R],
    zeros: [S::W; R],
    scales: Option<[S::F; R]>,
    x: [&[Lanes]; NB],
    sums: &mut [[S::F; NB]; R],
) {
    let window_bits = window_codes(B) as u32 * B;
    let window = (1 << window_bits) - 1;
    let (mut rest, mut codes, mut z) = ([simd.splat(0); R], [simd.zero(); R], [simd.zero(); R]);
    for r in 0..R {
        rest[r] = words[r][0];
        if B == 3 {
            rest[r] = simd.shift_right_each(rest[r], simd.words(begins));
        }
        codes[r] = simd.counted(rest[r], window);
        z[r] = simd.counted(zeros[r], window);
    }
    let within = 32 / B as usize;
    #[allow(clippy::needless_range_loop, reason = "the place is a place in codes first")]
    for place in 0..within {
        let position = place % window_codes(B);
        if position == 0 && place > 0 {
            for r in 0..R {
                rest[r] = simd.shift_right(rest[r], window_bits);
                codes[r] = simd.counted(rest[r], window);
            }
        }
        add_place::<S, B, NB, R>(
            simd,
            codes,
            z,
            scales,
            position as u32 * B,
            std::array::from_fn(|b| &x[b][place]),
            sums,
        );
    }
    if B == 3 {
        for r in 0..R {
            let low = simd.shift_right_each(words[r][0], simd.words(right));
            let high = simd.shift_left_each(words[r][1], simd.words(left));
            codes[r] = simd.counted(simd.or(low, high), window);
        }
        add_place::<S, B, NB, R>(simd, codes, z, scales, 0, std::array::from_fn(|b| &x[b][within]), sums);
    }
}

/// Sixteen words from `first`.
#[inline(always)]
fn lanes_at(words: &[u32], first: usize) -> &Words {
    &words[first..].as_chunks().0[0]
}

/// [`add_block`] for the codes at one bit of a window.
#[inline(always)]
fn add_place<S: Simd, const B: u32, const NB: usize, const R: usize>(
    simd: S,
    codes: [S::F; R],
    zeros: [S::F; R],
    scales: Option<[S::F; R]>,
    bit: u32,
    x: [&Lanes; NB],
    sums: &mut [[S::F; NB]; R],
) {
    let mask = ((1 << B) - 1) << bit;
    let mut steps = [simd.zero(); R];
    for r in 0..R {
        steps[r] = simd.sub(simd.counted_under(codes[r], mask), simd.counted_under(zeros[r], mask));
        if let Some(scales) = scales {
            steps[r] = simd.multiply_add(steps[r], scales[r], simd.zero());
        }
    }
    for b in 0..NB {
        let x = simd.load(&x[b].0);
        for r in 0..R {
            sums[r][b] = simd.multiply_add(steps[r], x, sums[r][b]);
        }
    }
}
