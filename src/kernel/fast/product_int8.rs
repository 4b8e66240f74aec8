//! Fast [`MatvecGroupInt8`](crate::kernel::matvec_group_int8) and
//! [`MatmulGroupInt8`](crate::kernel::matmul_group_int8), from packed codes.
//!
//! * Lanes are rows of the weight: the packed words of some rows are turned, so that a vector holds one word of each, and
//!   each group's scales lie side by side. That is done once for all rows of x, for as many columns as the second
//!   cache holds.
//! * Codes stay packed: shifts and masks bring one code to each byte, a quad of four codes a lane, in whatever order costs
//!   least. The activations are put into that order once a call, and four of them meet a quad in one instruction.
//! * One row of x, or two, one after the other, takes another way where it can: see [`group_fixed`](super::group_fixed).
//! * Over a block sums are integers; at its end they are scaled and added in f32.

use std::ops::Range;

use rayon::prelude::*;

use super::columns::Target;
use super::group_fixed::{fits_int8, int8_row};
use super::matvec_group::target;
use super::quads::{arrange, unit_quads, unit_words};
use super::simd::Words;
use super::simd::int8::{self, Bytes, Group, Run};
use super::stored::{Stored, by_dtype, decode, elements};
use super::stream::{by_bits, padded, unpack};
use super::tile_int8::Tile;
use super::weight::Weight;
use super::{LANES, rows};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::part::ZERO_MIDDLE;
use crate::kernel::product::GroupParams;
use crate::kernel::product_int8::Int8Params;

/// Vectors of weights that a tile keeps sums for.
pub(super) const R: usize = 4;
/// Rows of the weight taken together.
const WIDTH: usize = R * LANES;
/// Most rows of x that a tile keeps sums for: with [`R`] half the registers of AVX-512; the others hold four words, their
/// codes and the activations of two quads.
const PASS: usize = 4;
/// Rows of x that are faster one after the other, by [`int8_row`], than together.
const FEW: u32 = 2;
/// Packed words of a row that are turned at once, about: for [`WIDTH`] rows 64 KB of the second cache.
const CHUNK: usize = 256;

/// Words of a row between those that are read and those that are fetched.
const AHEAD: usize = 64;

/// A weight and where its results go.
pub(super) struct Job<'a> {
    pub p: &'a Int8Params,
    pub bits: u32,
    pub codes: &'a [u32],
    pub scales: &'a [u32],
    /// One a byte, or none.
    pub zeros: Option<&'a [u8]>,
    /// The scales of a row from one of all on.
    pub decode: fn(&[u32], usize, &mut [f32]),
    x: &'a [u32],
    pub x_scales: &'a [f32],
    pub x_sums: &'a [u32],
    /// One a row of the weight, or none.
    bias: Option<&'a [f32]>,
    /// Whether codes are unpacked to one a byte first: where blocks share words, or units of words.
    unpacked: bool,
}

pub fn run(p: &Int8Params, variant: &Variant, bindings: Bindings<'_>) {
    let [x, x_scales, x_sums, codes, scales, zeros, bias, mut out] = bindings.take();
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
        bias: p.bias_of(&bias),
        unpacked: p.activations().blocks() > 1 && !(p.block * bits).is_multiple_of(unit),
    };
    if p.batch == 0 || p.rows == 0 || p.cols == 0 {
        return;
    }
    let block = p.block as usize;
    if p.batch <= FEW && by_bits!(bits, fits_int8(p.cols as usize, block)) {
        let &Int8Params {
            batch, rows, cols, group, groups_per_row, words_per_row, out_offset, out_stride, bias, ..
        } = p;
        let p = GroupParams { batch, rows, cols, group, groups_per_row, words_per_row, out_offset, out_stride, bias };
        let w = Weight::new(&p, variant, job.codes, job.scales, zeros.words());
        let first = target(&p, job.bias);
        let bytes: &[i8] = bytemuck::must_cast_slice(job.x);
        let blocks = job.p.activations().blocks();
        let row_bytes = 4 * blocks * job.p.activations().block_words();
        for b in 0..batch as usize {
            let x = (&bytes[b * row_bytes..][..cols as usize], &job.x_scales[b * blocks..][..blocks]);
            let target = Target { offset: first.offset + b * first.stride, ..first };
            by_dtype!(variant.dtype(Role::Scale), one_row(bits, w, x, block, target, out.f32_mut()));
        }
        return;
    }
    let out = &mut out.f32_mut()[p.out_offset as usize..];
    if job.unpacked {
        products::<8>(&job, out);
    } else {
        by_bits!(bits, products(&job, out));
    }
}

fn one_row<T: Stored>(bits: u32, w: Weight<'_>, x: (&[i8], &[f32]), block: usize, target: Target<'_>, out: &mut [f32]) {
    by_bits!(bits, int8_row::<T>(w, x, block, target, out));
}

fn decoder<T: Stored>() -> fn(&[u32], usize, &mut [f32]) {
    |words, first, to| decode(&elements::<T>(words)[first..][..to.len()], to)
}

/// `B` is the width of the codes that are multiplied: 8 also where others were unpacked.
fn products<const B: u32>(job: &Job<'_>, out: &mut [f32]) {
    let (batch, rows, stride) = (job.p.batch as usize, job.p.rows as usize, job.p.out_stride as usize);
    let sizes = Sizes::new::<B>(job);
    let x = arranged::<B>(job, &sizes);
    let panel = rows::per_task(job.p.cols as usize * batch).next_multiple_of(2 * WIDTH);
    let visit = |first, results: &mut [f32]| {
        int8::run(Panels::<B> { job, sizes: &sizes, x: &x, first, results: &mut *results });
        let Some(bias) = job.bias else { return };
        for results in results.chunks_exact_mut(results.len() / batch) {
            results.iter_mut().zip(&bias[first..]).for_each(|(result, bias)| *result += bias);
        }
    };
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
pub(super) struct Sizes {
    pub blocks: usize,
    /// Words of the weight in a block.
    pub words: usize,
    /// Quads of a block.
    pub quads: usize,
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

/// Rows of x by passes of equal size, within one.
fn passes(batch: usize) -> impl Iterator<Item = Range<usize>> {
    let passes = batch.div_ceil(PASS);
    (0..passes).map(move |pass| batch * pass / passes..batch * (pass + 1) / passes)
}

/// The activations' codes by quads in the order in which the weight's are met: of each pass `[quads, rows of x]`, so that a
/// tile reads them from one end to the other.
fn arranged<const B: u32>(job: &Job<'_>, sizes: &Sizes) -> Vec<u32> {
    let (quads, from_words) = (unit_quads(B), job.p.activations().block_words());
    let row = sizes.blocks * sizes.quads;
    let mut all = vec![0; job.p.batch as usize * row];
    let mut rest = &mut all[..];
    let mut parts = Vec::new();
    for part in passes(job.p.batch as usize) {
        let (to, after) = rest.split_at_mut(part.len() * row);
        parts.push((part, to));
        rest = after;
    }
    let arrange = |(part, to): (Range<usize>, &mut [u32])| {
        let count = part.len();
        let mut block = vec![0; sizes.quads];
        for (i, b) in part.enumerate() {
            for (k, to) in to.chunks_exact_mut(sizes.quads * count).enumerate() {
                let from: &[u8] =
                    bytemuck::must_cast_slice(&job.x[(b * sizes.blocks + k) * from_words..][..from_words]);
                arrange(from, quads, bytemuck::must_cast_slice_mut(&mut block));
                to[i..].iter_mut().step_by(count).zip(&block).for_each(|(to, quad)| *to = *quad);
            }
        }
    };
    if row * PASS < rows::TASK / 4 {
        parts.into_iter().for_each(arrange);
    } else {
        parts.into_par_iter().for_each(arrange);
    }
    all
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
            // At the end the last row stands in for those that are missing.
            let row = |i: usize| first + start + i.min(width - 1);
            let mut bytes = Vec::new();
            let words = words(job, sizes, row, &mut bytes);
            scratch.read_groups(simd, job, row);
            sums.fill([[0; LANES]; R]);
            for block in (0..sizes.blocks).step_by(sizes.chunk) {
                let blocks = block..sizes.blocks.min(block + sizes.chunk);
                scratch.turn(simd, &words, blocks.start * sizes.words..blocks.end * sizes.words);
                for part in passes(batch) {
                    let sums = &mut sums[part.clone()];
                    let x = &x[part.start * sizes.blocks * sizes.quads..];
                    let tile = Tile { job, sizes, x, scratch: &scratch, blocks: blocks.clone(), first: part.start };
                    match part.len() {
                        1 => tile.add::<S, B, 1>(simd, sums),
                        2 => tile.add::<S, B, 2>(simd, sums),
                        3 => tile.add::<S, B, 3>(simd, sums),
                        _ => tile.add::<S, B, 4>(simd, sums),
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
pub(super) struct Scratch {
    /// Of each group.
    pub groups: Vec<[Group; R]>,
    /// Scales of the groups by rows, and zero points likewise.
    by_rows: Vec<f32>,
    /// Turned words: one of each row.
    pub words: Vec<[Words; R]>,
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
    fn read_groups<S: Bytes>(&mut self, simd: S, job: &Job<'_>, row: impl Fn(usize) -> usize) {
        let (count, stride) = (job.p.groups_per_row.max(1) as usize, self.groups.len());
        for r in 0..R {
            let first = |i: usize| row(r * LANES + i) * job.p.groups_per_row as usize;
            for (i, to) in self.by_rows.chunks_exact_mut(stride).enumerate() {
                (job.decode)(job.scales, first(i), &mut to[..count]);
            }
            let by_rows: &mut [u32] = bytemuck::must_cast_slice_mut(&mut self.by_rows);
            for at in (0..stride).step_by(LANES) {
                let vectors = turned(simd, &rows_of(by_rows, stride), at);
                for (vector, groups) in vectors.into_iter().zip(&mut self.groups[at..]) {
                    simd.store(vector, &mut groups[r].scales);
                }
            }
            let Some(zeros) = job.zeros else { continue };
            for (i, to) in by_rows.chunks_exact_mut(stride).enumerate() {
                let zeros = &zeros[first(i)..][..count];
                to.iter_mut().zip(zeros).for_each(|(to, zero)| *to = u32::from(*zero));
            }
            for at in (0..stride).step_by(LANES) {
                let vectors = turned(simd, &rows_of(by_rows, stride), at);
                for (vector, groups) in vectors.into_iter().zip(&mut self.groups[at..]) {
                    simd.store(vector, &mut groups[r].zeros);
                }
            }
        }
    }

    /// These words of every row, and some more up to whole vectors.
    #[inline(always)]
    fn turn<S: Bytes>(&mut self, simd: S, rows: &[&[u32]; WIDTH], range: Range<usize>) {
        for (r, rows) in rows.as_chunks().0.iter().enumerate() {
            for (at, to) in range.clone().step_by(LANES).zip(self.words.as_chunks_mut::<LANES>().0) {
                let vectors = turned(simd, rows, at);
                for i in 0..LANES {
                    simd.store(vectors[i], &mut to[i][r]);
                }
            }
        }
    }
}

/// Sixteen rows of a matrix.
fn rows_of(words: &[u32], stride: usize) -> [&[u32]; LANES] {
    std::array::from_fn(|i| &words[i * stride..][..stride])
}

/// Words `at` to `at + 15` of sixteen rows of equal length, a word of each row a vector. Words beyond the end are 0.
///
/// Loops and slices throughout: what closures and `from_fn` call may be left a call, compiled for the base set.
#[inline(always)]
fn turned<S: Bytes>(simd: S, rows: &[&[u32]; LANES], at: usize) -> [S::W; LANES] {
    let mut vectors = [simd.splat(0); LANES];
    if at + LANES <= rows[0].len() {
        for i in 0..LANES {
            let row = &rows[i][at..];
            simd.prefetch(row, AHEAD);
            vectors[i] = simd.words(row.first_chunk().unwrap_or(&[0; LANES]));
        }
    } else {
        for i in 0..LANES {
            let rest = rows[i].get(at..).unwrap_or_default();
            let mut words = [0; LANES];
            words[..rest.len()].copy_from_slice(rest);
            vectors[i] = simd.words(&words);
        }
    }
    simd.transpose(&mut vectors);
    vectors
}
