//! One row of x against rows of the weight, for [`product_int8`](super::product_int8): lanes are neighbouring words of a row,
//! so that nothing is turned and rows are read from one end to the other. For blocks of whole vectors of words.

use super::LANES;
use super::product_int8::{Job, Sizes};
use super::quads::{quad_of, unit_quads};
use super::simd::int8::{Bytes, Run};
use super::simd::{self, Words};

/// Rows of the weight for each vector of x that is loaded.
const ROWS: usize = 4;

/// Words of a row between those that are read and those that are fetched.
const AHEAD: usize = 128;

/// Whether blocks are made of vectors of words.
pub fn fits<const B: u32>(job: &Job<'_>, sizes: &Sizes) -> bool {
    B != 3 && sizes.words.is_multiple_of(LANES) && (job.p.words_per_row as usize).is_multiple_of(LANES)
}

/// Quads from the order of words to that of vectors: for sixteen words the first quad of each, then the second.
pub fn by_vectors<const B: u32>(quads: &[u32]) -> Vec<Words> {
    let mut all = vec![[0; LANES]; quads.len() / LANES];
    let per_word = unit_quads(B);
    for (from, to) in quads.chunks_exact(LANES * per_word).zip(all.chunks_exact_mut(per_word)) {
        for (lane, from) in from.chunks_exact(per_word).enumerate() {
            for (to, quad) in to.iter_mut().zip(from) {
                to[lane] = *quad;
            }
        }
    }
    all
}

/// Numbers in the first lane of a vector each: of all lanes of a block one takes its zero point.
pub fn first_lanes(numbers: &[u32]) -> Vec<Words> {
    let first = |n: &u32| std::array::from_fn(|lane| if lane == 0 { *n } else { 0 });
    numbers.iter().map(first).collect()
}

/// Rows of the weight from `first`, as many as there are `results`.
pub struct Rows<'a, const B: u32> {
    pub job: &'a Job<'a>,
    pub sizes: &'a Sizes,
    /// [`by_vectors`].
    pub x: &'a [Words],
    /// [`first_lanes`].
    pub x_sums: &'a [Words],
    pub first: usize,
    pub results: &'a mut [f32],
}

impl<const B: u32> Run for Rows<'_, B> {
    #[inline(always)]
    fn run<S: Bytes>(self, simd: S) {
        let Self { job, sizes, x, x_sums, first, results } = self;
        let p = job.p;
        let (stride, groups) = (p.words_per_row as usize, p.groups_per_row.max(1) as usize);
        let mut scales = vec![0.0; ROWS * groups];
        let mut zeros = vec![1 << (job.bits - 1); ROWS * groups];
        let last = first + results.len().saturating_sub(1);
        for (i, results) in results.chunks_mut(ROWS).enumerate() {
            let mut words: [&[u32]; ROWS] = [&[]; ROWS];
            for r in 0..ROWS {
                // At the end the last row stands in for those that are missing.
                let row = (first + i * ROWS + r).min(last);
                words[r] = &job.codes[row * stride..][..stride];
                let group = row * p.groups_per_row as usize;
                (job.decode)(job.scales, group, &mut scales[r * groups..][..groups]);
                if let Some(stored) = job.zeros {
                    let zeros = zeros[r * groups..].iter_mut().zip(&stored[group..][..groups]);
                    zeros.for_each(|(zero, stored)| *zero = u32::from(*stored));
                }
            }
            let mut totals = [[0; LANES]; ROWS];
            for block in 0..sizes.blocks {
                let group = if groups <= 1 { 0 } else { block * p.block as usize / p.group as usize };
                let mut sums = [simd.splat(0); ROWS];
                let x = &x[block * sizes.quads / LANES..][..sizes.quads / LANES];
                for (k, x) in x.chunks_exact(unit_quads(B)).enumerate() {
                    let at = block * sizes.words + k * LANES;
                    let mut parts = [simd.splat(0); ROWS];
                    for r in 0..ROWS {
                        let words = words[r].get(at..).unwrap_or_default();
                        simd.prefetch(words, AHEAD);
                        parts[r] = simd.words(words.first_chunk().unwrap_or(&[0; LANES]));
                    }
                    add_quad::<S, B, 0>(simd, &parts, x, &mut sums);
                    add_quad::<S, B, 1>(simd, &parts, x, &mut sums);
                    add_quad::<S, B, 2>(simd, &parts, x, &mut sums);
                    add_quad::<S, B, 3>(simd, &parts, x, &mut sums);
                }
                for r in 0..ROWS {
                    let (scale, zero) = (scales[r * groups + group], zeros[r * groups + group]);
                    simd.add_row(&mut totals[r], sums[r], zero, &x_sums[block], scale * job.x_scales[block]);
                }
            }
            for (result, total) in results.iter_mut().zip(&totals) {
                *result = simd::total(&total.map(f32::from_bits));
            }
        }
    }
}

/// Adds the products of quad `J` of each word, if there is one.
#[inline(always)]
fn add_quad<S: Bytes, const B: u32, const J: usize>(
    simd: S,
    words: &[S::W; ROWS],
    x: &[Words],
    sums: &mut [S::W; ROWS],
) {
    if J >= const { unit_quads(B) } {
        return;
    }
    let x = simd.words(&x[J]);
    for r in 0..ROWS {
        let quad = quad_of::<S, B, J>(simd, [words[r]; 3]);
        sums[r] = if B == 8 { simd.dot::<true>(sums[r], quad, x) } else { simd.dot::<false>(sums[r], quad, x) };
    }
}
