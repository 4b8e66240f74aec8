//! Fast [`MatvecGroupInt8`](crate::kernel::matvec_group_int8) and
//! [`MatmulGroupInt8`](crate::kernel::matmul_group_int8), from packed codes.
//!
//! * Lanes are rows of the weight: the packed words of some rows are turned, so that a vector holds one word of each, and
//!   each group's scales lie side by side. That is done once for all rows of x, for as many columns as the first cache
//!   holds.
//! * Codes stay packed: shifts and masks bring one code to each byte, a quad of four codes a lane, in whatever order costs
//!   least. The activations are put into that order once a call, and four of them meet a quad in one instruction.
//! * Over a block sums are integers; at its end they are scaled and added in f32.

use rayon::prelude::*;

use super::simd::Words;
use super::simd::int8::{self, Bytes, Group, Run};
use super::stored::{Stored, by_dtype, decode, elements};
use super::stream::{by_bits, padded, unpack};
use super::{LANES, rows};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::part::ZERO_MIDDLE;
use crate::kernel::product_int8::Int8Params;

/// Vectors of weights that a tile keeps sums for.
const R: usize = 2;
/// Rows of the weight taken together.
const WIDTH: usize = R * LANES;
/// Most rows of x that a tile keeps sums for: with [`R`] half the registers of AVX-512.
const PASS: usize = 8;
/// Packed words of a row that are turned at once, about: for [`WIDTH`] rows some 16 KB.
const CHUNK: usize = 128;

/// Words in which whole codes begin and end.
const fn unit_words(bits: u32) -> usize {
    if bits == 3 { 3 } else { 1 }
}

/// Quads in [`unit_words`].
const fn unit_quads(bits: u32) -> usize {
    8 * unit_words(bits) / bits as usize
}

/// A weight and where its results go.
struct Job<'a> {
    p: &'a Int8Params,
    bits: u32,
    codes: &'a [u32],
    scales: &'a [u32],
    /// One a byte, or none.
    zeros: Option<&'a [u8]>,
    /// The scales of a row from one of all on.
    decode: fn(&[u32], usize, &mut [f32]),
    x: &'a [u32],
    x_scales: &'a [f32],
    x_sums: &'a [u32],
    /// Whether codes are unpacked to one a byte first: where blocks share words, or units of words.
    unpacked: bool,
}

pub fn run(p: &Int8Params, variant: &Variant, bindings: Bindings<'_>) {
    let [x, x_scales, x_sums, codes, scales, zeros, mut out] = bindings.take();
    let symmetric = variant.of(Role::Zero).is_some_and(|z| z.name == ZERO_MIDDLE.name);
    let bits = variant.get("BITS");
    let unit = 32 * unit_words(bits) as u32;
    let job = Job {
        p,
        bits,
        codes: codes.words(),
        scales: scales.words(),
        zeros: (!symmetric).then(|| elements(zeros.words())),
        decode: by_dtype!(variant.dtype(Role::Scale), decoder()),
        x: x.words(),
        x_scales: x_scales.f32(),
        x_sums: x_sums.words(),
        unpacked: p.activations().blocks() > 1 && !(p.block * bits).is_multiple_of(unit),
    };
    if p.batch == 0 || p.rows == 0 || p.cols == 0 {
        return;
    }
    let out = &mut out.f32_mut()[p.out_offset as usize..];
    if job.unpacked {
        products::<8>(&job, out);
    } else {
        by_bits!(bits, products(&job, out));
    }
}

fn decoder<T: Stored>() -> fn(&[u32], usize, &mut [f32]) {
    |words, first, to| decode(&elements::<T>(words)[first..][..to.len()], to)
}

/// `B` is the width of the codes that are multiplied: 8 also where others were unpacked.
fn products<const B: u32>(job: &Job<'_>, out: &mut [f32]) {
    let (batch, rows, stride) = (job.p.batch as usize, job.p.rows as usize, job.p.out_stride as usize);
    let sizes = Sizes::new::<B>(job);
    let x = arranged::<B>(job, &sizes);
    let panel = rows::per_task(job.p.cols as usize * batch).next_multiple_of(WIDTH);
    let visit = |first, results: &mut [f32]| int8::run(Panels::<B> { job, sizes: &sizes, x: &x, first, results });
    if batch == 1 {
        return rows::each(&mut out[..rows], 1, panel, visit);
    }
    // Of each panel `[batch, rows]`.
    let mut results = vec![0.0; rows * batch];
    rows::each(&mut results, batch, panel, visit);
    let place = |(b, out): (usize, &mut [f32])| {
        for (results, out) in results.chunks(panel * batch).zip(out[..rows].chunks_mut(panel)) {
            out.copy_from_slice(&results[b * out.len()..][..out.len()]);
        }
    };
    let out = &mut out[..(batch - 1) * stride + rows];
    if results.len() <= rows::TASK {
        out.chunks_mut(stride).enumerate().for_each(place);
    } else {
        out.par_chunks_mut(stride).enumerate().for_each(place);
    }
}

/// How blocks lie in rows of whole units.
struct Sizes {
    blocks: usize,
    /// Words of the weight in a block.
    words: usize,
    /// Quads of a block.
    quads: usize,
    /// Blocks that are taken at once.
    chunk: usize,
}

impl Sizes {
    fn new<const B: u32>(job: &Job<'_>) -> Self {
        let bytes = job.p.block as usize * B as usize;
        let words = bytes.div_ceil(32).next_multiple_of(unit_words(B));
        let quads = words / unit_words(B) * unit_quads(B);
        Self { blocks: job.p.activations().blocks(), words, quads, chunk: (CHUNK / words).max(1) }
    }
}

/// The activations' codes by quads in the order in which the weight's are met.
fn arranged<const B: u32>(job: &Job<'_>, sizes: &Sizes) -> Vec<u32> {
    let (quads, from_words) = (unit_quads(B), job.p.activations().block_words());
    let mut all = vec![0; job.p.batch as usize * sizes.blocks * sizes.quads];
    rows::each(&mut all, sizes.quads, rows::per_task(4 * sizes.quads), |first, all| {
        for (i, to) in all.chunks_exact_mut(sizes.quads).enumerate() {
            let from: &[u8] = bytemuck::must_cast_slice(&job.x[(first + i) * from_words..][..from_words]);
            arrange(from, quads, bytemuck::must_cast_slice_mut(to));
        }
    });
    all
}

vectorized! {
    /// Byte `j + i * quads` of each unit becomes byte `i` of its quad `j`.
    fn arrange(from: &[u8], quads: usize, to: &mut [u8]) {
        match quads {
            1 => to[..from.len()].copy_from_slice(from),
            2 => turned::<2>(from, to),
            4 => turned::<4>(from, to),
            _ => turned::<8>(from, to),
        }
    }
}

#[inline(always)]
fn turned<const Q: usize>(from: &[u8], to: &mut [u8]) {
    for (from, to) in from.chunks(4 * Q).zip(to.chunks_exact_mut(4 * Q)) {
        let mut whole = [[0; Q]; 4];
        whole.as_flattened_mut()[..from.len()].copy_from_slice(from);
        for (j, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *to = std::array::from_fn(|i| whole[i][j]);
        }
    }
}

/// Rows of the weight from `first`, as many as `results`, `[batch, rows]`, has room for.
struct Panels<'a, const B: u32> {
    job: &'a Job<'a>,
    sizes: &'a Sizes,
    x: &'a [u32],
    first: usize,
    results: &'a mut [f32],
}

impl<const B: u32> Run for Panels<'_, B> {
    #[inline(always)]
    fn run<S: Bytes>(self, simd: S) {
        let Self { job, sizes, x, first, results } = self;
        let batch = job.p.batch as usize;
        let rows = results.len() / batch;
        let mut scratch = Scratch::new(job, sizes);
        let mut sums = vec![[[0; LANES]; R]; batch];
        for start in (0..rows).step_by(WIDTH) {
            let width = WIDTH.min(rows - start);
            sums.fill([[0; LANES]; R]);
            scratch.read_groups(simd, job, first + start, width);
            // At the end the last row stands in for those that are missing.
            let row = |i: usize| first + start + i.min(width - 1);
            let mut bytes = Vec::new();
            let words = words(job, sizes, row, &mut bytes);
            for block in (0..sizes.blocks).step_by(sizes.chunk) {
                let blocks = block..sizes.blocks.min(block + sizes.chunk);
                scratch.turn(simd, &words, blocks.start * sizes.words..blocks.end * sizes.words);
                let passes = batch.div_ceil(PASS);
                for pass in 0..passes {
                    let part = batch * pass / passes..batch * (pass + 1) / passes;
                    let sums = &mut sums[part.clone()];
                    let tile = Tile { job, sizes, x, scratch: &scratch, blocks: blocks.clone(), first: part.start };
                    match part.len() {
                        1 => tile.add::<S, B, 1>(simd, sums),
                        2 => tile.add::<S, B, 2>(simd, sums),
                        3 => tile.add::<S, B, 3>(simd, sums),
                        4 => tile.add::<S, B, 4>(simd, sums),
                        5 => tile.add::<S, B, 5>(simd, sums),
                        6 => tile.add::<S, B, 6>(simd, sums),
                        7 => tile.add::<S, B, 7>(simd, sums),
                        _ => tile.add::<S, B, 8>(simd, sums),
                    }
                }
            }
            for (sums, results) in sums.iter().zip(results.chunks_exact_mut(rows)) {
                let sums: &[f32] = bytemuck::must_cast_slice(sums.as_flattened());
                results[start..start + width].copy_from_slice(&sums[..width]);
            }
        }
    }
}

/// The words of each row, as they are or unpacked into `bytes`.
fn words<'a>(
    job: &Job<'a>,
    sizes: &Sizes,
    row: impl Fn(usize) -> usize,
    bytes: &'a mut Vec<u32>,
) -> [&'a [u32]; WIDTH] {
    let stride = job.p.words_per_row as usize;
    let packed = |i| &job.codes[row(i) * stride..][..stride];
    if !job.unpacked {
        return std::array::from_fn(packed);
    }
    let (cols, length) = (job.p.cols as usize, sizes.blocks * sizes.words);
    bytes.resize(WIDTH * length, 0);
    let mut all = vec![0; padded(cols)];
    for (i, to) in bytes.chunks_exact_mut(length).enumerate() {
        by_bits!(job.bits, unpacked(packed(i), &mut all));
        for (from, to) in all[..cols].chunks(job.p.block as usize).zip(to.chunks_exact_mut(sizes.words)) {
            bytemuck::must_cast_slice_mut::<u32, u8>(to)[..from.len()].copy_from_slice(from);
        }
    }
    std::array::from_fn(|i| &bytes[i * length..][..length])
}

vectorized! {
    fn unpacked<const B: u32>(words: &[u32], codes: &mut [u8]) {
        unpack::<B>(words, codes);
    }
}

/// What is made of the weight for all rows of x.
struct Scratch {
    /// Of each group.
    groups: Vec<[Group; R]>,
    /// Scales of the groups by rows, and zero points likewise.
    by_rows: Vec<f32>,
    /// Turned words: one of each row.
    words: Vec<[Words; R]>,
}

impl Scratch {
    fn new(job: &Job<'_>, sizes: &Sizes) -> Self {
        let groups = (job.p.groups_per_row.max(1) as usize).next_multiple_of(LANES);
        let middle = Group { scales: [0; LANES], zeros: [1 << (job.bits - 1); LANES] };
        let words = (sizes.chunk.min(sizes.blocks) * sizes.words).next_multiple_of(LANES);
        Self {
            groups: vec![[middle; R]; groups],
            by_rows: vec![0.0; LANES * groups],
            words: vec![[[0; LANES]; R]; words],
        }
    }

    /// The groups of rows.
    #[inline(always)]
    fn read_groups<S: Bytes>(&mut self, simd: S, job: &Job<'_>, first: usize, width: usize) {
        let (count, stride) = (job.p.groups_per_row.max(1) as usize, self.groups.len());
        for r in 0..R {
            let group = |i: usize| (first + (r * LANES + i).min(width - 1)) * job.p.groups_per_row as usize;
            for (i, to) in self.by_rows.chunks_exact_mut(stride).enumerate() {
                (job.decode)(job.scales, group(i), &mut to[..count]);
            }
            let by_rows: &mut [u32] = bytemuck::must_cast_slice_mut(&mut self.by_rows);
            turn(simd, |i| &by_rows[i * stride..][..stride], 0..stride, |g, scales| self.groups[g][r].scales = scales);
            if let Some(zeros) = job.zeros {
                for (i, to) in by_rows.chunks_exact_mut(stride).enumerate() {
                    let zeros = &zeros[group(i)..][..count];
                    to.iter_mut().zip(zeros).for_each(|(to, zero)| *to = u32::from(*zero));
                }
                turn(simd, |i| &by_rows[i * stride..][..stride], 0..stride, |g, zeros| self.groups[g][r].zeros = zeros);
            }
        }
    }

    /// These words of every row.
    #[inline(always)]
    fn turn<S: Bytes>(&mut self, simd: S, rows: &[&[u32]; WIDTH], range: std::ops::Range<usize>) {
        for r in 0..R {
            let start = range.start;
            turn(simd, |i| rows[r * LANES + i], range.clone(), |i, words| self.words[i - start][r] = words);
        }
    }
}

/// Gives `take` for each index of the range the words there of sixteen rows, and for some more up to whole vectors.
/// Words beyond the end of a row are 0.
#[inline(always)]
fn turn<'a, S: Bytes>(
    simd: S,
    row: impl Fn(usize) -> &'a [u32],
    range: std::ops::Range<usize>,
    mut take: impl FnMut(usize, Words),
) {
    for at in range.step_by(LANES) {
        let mut vectors = [simd.splat(0); LANES];
        for (i, vector) in vectors.iter_mut().enumerate() {
            let rest = row(i).get(at..).unwrap_or_default();
            *vector = match rest.first_chunk() {
                Some(words) => simd.words(words),
                None => {
                    let mut words = [0; LANES];
                    words[..rest.len()].copy_from_slice(rest);
                    simd.words(&words)
                }
            };
        }
        simd.transpose(&mut vectors);
        for (i, vector) in vectors.into_iter().enumerate() {
            let mut words = [0; LANES];
            simd.store(vector, &mut words);
            take(at + i, words);
        }
    }
}

/// Some blocks of the weight against some rows of x from `first`.
struct Tile<'a> {
    job: &'a Job<'a>,
    sizes: &'a Sizes,
    x: &'a [u32],
    scratch: &'a Scratch,
    blocks: std::ops::Range<usize>,
    first: usize,
}

impl Tile<'_> {
    #[inline(always)]
    fn add<S: Bytes, const B: u32, const NB: usize>(&self, simd: S, to: &mut [[Words; R]]) {
        let Sizes { blocks, words, quads, .. } = *self.sizes;
        let Some(to) = to.first_chunk_mut::<NB>() else { return };
        for (i, block) in self.blocks.clone().enumerate() {
            let group = if self.job.p.groups_per_row <= 1 {
                0
            } else {
                block * self.job.p.block as usize / self.job.p.group as usize
            };
            let at: [usize; NB] = std::array::from_fn(|b| (self.first + b) * blocks + block);
            let mut x = at.map(|at| self.x[at * quads..][..quads].chunks_exact(unit_quads(B)));
            let mut sums = [[simd.splat(0); R]; NB];
            for unit in self.scratch.words[i * words..][..words].chunks_exact(unit_words(B)) {
                let mut parts = [[simd.splat(0); 3]; R];
                for r in 0..R {
                    parts[r] = spread::<S, B>(simd, unit, r);
                }
                let mut xs: [&[u32]; NB] = [&[]; NB];
                xs.iter_mut().zip(&mut x).for_each(|(xs, x)| *xs = x.next().unwrap_or_default());
                for j in 0..const { unit_quads(B) } {
                    let mut quad = [simd.splat(0); R];
                    for r in 0..R {
                        quad[r] = quad_of::<S, B>(simd, parts[r], j);
                    }
                    for b in 0..NB {
                        let x = simd.splat(xs[b][j]);
                        for r in 0..R {
                            sums[b][r] = if B == 8 {
                                simd.dot::<true>(sums[b][r], quad[r], x)
                            } else {
                                simd.dot::<false>(sums[b][r], quad[r], x)
                            };
                        }
                    }
                }
            }
            let groups = &self.scratch.groups[group];
            for b in 0..NB {
                let (x_sum, x_scale) = (self.job.x_sums[at[b]] as i32, self.job.x_scales[at[b]]);
                for r in 0..R {
                    simd.add_scaled(&mut to[b][r], sums[b][r], &groups[r], x_sum, x_scale);
                }
            }
        }
    }
}

/// The words of a unit such that each byte of one holds the same bits of a quad as its other bytes. Of 3 bits those are the
/// bytes 0, 3, 6 and 9 of twelve, in which eight codes begin each, then the bytes after these.
#[inline(always)]
fn spread<S: Bytes, const B: u32>(simd: S, unit: &[[Words; R]], r: usize) -> [S::W; 3] {
    let word = |i: usize| simd.words(&unit[i][r]);
    if B != 3 {
        return [word(0), word(0), word(0)];
    }
    let w = [word(0), word(1), word(2)];
    // Byte `from` of all twelve to place `to`.
    let byte = |from: usize, to: usize| {
        let (word, by, mask) = (w[from / 4], 8 * (from % 4) as i32 - 8 * to as i32, 0xff << (8 * to));
        let moved = if by > 0 { simd.shift_right(word, by as u32) } else { simd.shift_left(word, (-by) as u32) };
        simd.and(if by == 0 { word } else { moved }, mask)
    };
    let gather = |i: usize| simd.or(simd.or(byte(i, 0), byte(3 + i, 1)), simd.or(byte(6 + i, 2), byte(9 + i, 3)));
    [gather(0), gather(1), gather(2)]
}

/// Quad `j` of a unit: its codes `j`, `j + unit_quads`, and so on.
#[inline(always)]
fn quad_of<S: Bytes, const B: u32>(simd: S, parts: [S::W; 3], j: usize) -> S::W {
    let bits = |part: usize, at: u32, count: u32| {
        let moved = if at > 0 { simd.shift_right(parts[part], at) } else { parts[part] };
        simd.and(moved, ((1 << count) - 1) * 0x0101_0101)
    };
    // A code that begins in one byte and ends in the next.
    let across = |part: usize, count: u32| {
        let high = simd.shift_left(parts[part + 1], count);
        let high = simd.and(high, (7 & (7 << count)) * 0x0101_0101);
        simd.or(bits(part, 8 - count, count), high)
    };
    match (B, j) {
        (8, _) => parts[0],
        (3, 0) => bits(0, 0, 3),
        (3, 1) => bits(0, 3, 3),
        (3, 2) => across(0, 2),
        (3, 3) => bits(1, 1, 3),
        (3, 4) => bits(1, 4, 3),
        (3, 5) => across(1, 1),
        (3, 6) => bits(2, 2, 3),
        (3, _) => bits(2, 5, 3),
        _ => bits(0, B * j as u32, B),
    }
}
