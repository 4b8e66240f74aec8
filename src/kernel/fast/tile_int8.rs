//! A few vectors of rows of the weight against a few rows of x: the innermost loops of
//! [`product_int8`](super::product_int8).

use std::ops::Range;

use super::product_int8::{Job, R, Scratch, Sizes};
use super::quads::{quad_of, spread, unit_quads, unit_words};
use super::simd::Words;
use super::simd::int8::Bytes;

/// Some blocks of the weight against some rows of x from `first`.
pub struct Tile<'a> {
    pub job: &'a Job<'a>,
    pub sizes: &'a Sizes,
    /// The activations of these rows, `[quads, rows of x]`.
    pub x: &'a [u32],
    pub scratch: &'a Scratch,
    pub blocks: Range<usize>,
    /// The first row of x.
    pub first: usize,
}

impl Tile<'_> {
    /// Adds the products with the first `NB` of these rows of x.
    #[inline(always)]
    pub fn add<S: Bytes, const B: u32, const NB: usize>(&self, simd: S, to: &mut [[Words; R]]) {
        let Some(to) = to.first_chunk_mut::<NB>() else { return };
        if S::MANY {
            return self.vectors::<S, B, NB, R>(simd, 0, to);
        }
        for first in 0..R {
            self.vectors::<S, B, NB, 1>(simd, first, to);
        }
    }

    /// [`Self::add`] for `V` vectors of rows of the weight.
    #[inline(always)]
    fn vectors<S: Bytes, const B: u32, const NB: usize, const V: usize>(
        &self,
        simd: S,
        first: usize,
        to: &mut [[Words; R]; NB],
    ) {
        let Sizes { blocks, words, quads, .. } = *self.sizes;
        for (i, block) in self.blocks.clone().enumerate() {
            let x = &self.x[block * NB * quads..][..quads * NB];
            let mut x = x.as_chunks::<NB>().0.chunks_exact(unit_quads(B));
            let mut sums = [[simd.splat(0); V]; NB];
            for unit in self.scratch.words[i * words..][..words].chunks_exact(unit_words(B)) {
                let mut parts = [[simd.splat(0); 3]; V];
                for v in 0..V {
                    for word in 0..const { unit_words(B) } {
                        parts[v][word] = simd.words(&unit[word][first + v]);
                    }
                    parts[v] = spread::<S, B>(simd, parts[v]);
                }
                let x = x.next().unwrap_or_default();
                // A loop over these would not be unrolled, and sums that a loop finds by index are kept in memory.
                add_quad::<S, B, NB, V, 0>(simd, &parts, x, &mut sums);
                add_quad::<S, B, NB, V, 1>(simd, &parts, x, &mut sums);
                add_quad::<S, B, NB, V, 2>(simd, &parts, x, &mut sums);
                add_quad::<S, B, NB, V, 3>(simd, &parts, x, &mut sums);
                add_quad::<S, B, NB, V, 4>(simd, &parts, x, &mut sums);
                add_quad::<S, B, NB, V, 5>(simd, &parts, x, &mut sums);
                add_quad::<S, B, NB, V, 6>(simd, &parts, x, &mut sums);
                add_quad::<S, B, NB, V, 7>(simd, &parts, x, &mut sums);
            }
            let p = self.job.p;
            let group = if p.groups_per_row <= 1 { 0 } else { block * p.block as usize / p.group as usize };
            let groups = &self.scratch.groups[group];
            for b in 0..NB {
                let at = (self.first + b) * blocks + block;
                let (x_sum, x_scale) = (self.job.x_sums[at] as i32, self.job.x_scales[at]);
                for v in 0..V {
                    simd.add_scaled(&mut to[b][first + v], sums[b][v], &groups[first + v], x_sum, x_scale);
                }
            }
        }
    }
}

/// Adds the products of quad `J` of a unit, if there is one.
#[inline(always)]
fn add_quad<S: Bytes, const B: u32, const NB: usize, const V: usize, const J: usize>(
    simd: S,
    parts: &[[S::W; 3]; V],
    x: &[[u32; NB]],
    sums: &mut [[S::W; V]; NB],
) {
    if J >= const { unit_quads(B) } {
        return;
    }
    let mut quads = [simd.splat(0); V];
    for v in 0..V {
        quads[v] = quad_of::<S, B, J>(simd, parts[v]);
    }
    for b in 0..NB {
        let x = simd.splat(x[J][b]);
        for v in 0..V {
            sums[b][v] = if B == 8 {
                simd.dot::<true>(sums[b][v], quads[v], x)
            } else {
                simd.dot::<false>(sums[b][v], quads[v], x)
            };
        }
    }
}
