//! Fast [`Matvec`](crate::kernel::matvec): a few rows of the weight are decoded a vector at a time and meet every row of x
//! before the next vector, so that the weight is read once.

use std::ops::Range;

use super::LANES;
use super::columns::Target;
use super::simd::{self, Lanes, Run, Simd};
use super::stored::{Stored, by_dtype, decoded, elements};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::product::DenseParams;

pub fn run(p: &DenseParams, variant: &Variant, bindings: Bindings<'_>) {
    let [x, w, mut out] = bindings.take();
    let x = decoded(variant.dtype(Role::Activation), x.words(), p.batch as usize * p.cols as usize);
    by_dtype!(variant.dtype(Role::Weight), products(p, w.words(), &x, out.f32_mut()));
}

fn products<T: Stored>(p: &DenseParams, w: &[u32], x: &[f32], out: &mut [f32]) {
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let w = &elements::<T>(w)[..rows * cols];
    let x = by_vectors(x, cols);
    let target = Target { rows, offset: p.out_offset as usize, stride: p.out_stride as usize, bias: None };
    target.by_passes(p.batch as usize, PASS, cols, out, |part, first, y| {
        dots(&w[first * cols..], rows_of(&x, &part, p.batch as usize), part.len(), cols, y);
    });
}

/// The rows of x, `[batch, cols]`, as vectors, the last filled up with zeros. Another vector parts the rows, so that
/// rows of some power of two do not all fall on the same lines of the first cache.
pub(super) fn by_vectors(x: &[f32], cols: usize) -> Vec<Lanes> {
    let row = cols / LANES + 2;
    let mut all = vec![Lanes::default(); x.len() / cols.max(1) * row];
    for (x, all) in x.chunks_exact(cols.max(1)).zip(all.chunks_exact_mut(row)) {
        bytemuck::cast_slice_mut(all)[..cols].copy_from_slice(x);
    }
    all
}

/// Most rows of x that one pass over the weight serves: more sums would not fit the registers.
pub(super) const PASS: usize = 8;

/// Some of the `batch` rows of x that these vectors are.
pub(super) fn rows_of<'a>(x: &'a [Lanes], part: &Range<usize>, batch: usize) -> &'a [Lanes] {
    let row = x.len() / batch;
    &x[part.start * row..part.end * row]
}

/// The products of rows of `w` with all rows of x, [`by_vectors`], as many as `y`, `[rows, batch]`, has room for.
pub(super) fn dots<T: Stored>(w: &[T], x: &[Lanes], batch: usize, cols: usize, y: &mut [f32]) {
    match batch {
        1 => simd::run(Dots::<T, 1, 4> { w, x, cols, y }),
        2 => simd::run(Dots::<T, 2, 4> { w, x, cols, y }),
        3 => simd::run(Dots::<T, 3, 4> { w, x, cols, y }),
        4 => simd::run(Dots::<T, 4, 4> { w, x, cols, y }),
        5 => simd::run(Dots::<T, 5, 2> { w, x, cols, y }),
        6 => simd::run(Dots::<T, 6, 2> { w, x, cols, y }),
        7 => simd::run(Dots::<T, 7, 2> { w, x, cols, y }),
        _ => simd::run(Dots::<T, 8, 2> { w, x, cols, y }),
    }
}

/// `NB` rows of x with `R` rows of the weight at a time: at most 16 sums, half the registers of AVX-512.
struct Dots<'a, T, const NB: usize, const R: usize> {
    w: &'a [T],
    x: &'a [Lanes],
    cols: usize,
    y: &'a mut [f32],
}

impl<T: Stored, const NB: usize, const R: usize> Run for Dots<'_, T, NB, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let x = self.x.chunks_exact(self.x.len() / NB);
        let mut rows = [self.x; NB];
        rows.iter_mut().zip(x).for_each(|(row, x)| *row = x);
        let y = self.y.as_chunks_mut::<NB>().0;
        let last = y.len().saturating_sub(1);
        for (i, y) in y.chunks_mut(R).enumerate() {
            // At the end the last row stands in for those that are missing.
            let w: [&[T]; R] = std::array::from_fn(|r| &self.w[(i * R + r).min(last) * self.cols..][..self.cols]);
            let sums = several(simd, w, rows);
            y.iter_mut().zip(sums).for_each(|(y, sums)| *y = sums);
        }
    }
}

#[inline(always)]
fn several<S: Simd, T: Stored, const NB: usize, const R: usize>(
    simd: S,
    w: [&[T]; R],
    x: [&[Lanes]; NB],
) -> [[f32; NB]; R] {
    let vectors = w[0].len() / LANES;
    let mut whole: [&[[T; LANES]]; R] = [&[]; R];
    let mut tails = [[T::zeroed(); LANES]; R];
    for r in 0..R {
        let (vectors, rest) = w[r].as_chunks();
        whole[r] = vectors;
        tails[r][..rest.len()].copy_from_slice(rest);
    }
    let mut sums = [[simd.zero(); NB]; R];
    for i in 0..=vectors {
        let mut values = [simd.zero(); R];
        for r in 0..R {
            values[r] = T::load(simd, if i < vectors { &whole[r][i] } else { &tails[r] });
        }
        for b in 0..NB {
            let x = simd.load(&x[b][i].0);
            for r in 0..R {
                sums[r][b] = simd.multiply_add(values[r], x, sums[r][b]);
            }
        }
    }
    let sums = simd::stored(simd, &sums);
    std::array::from_fn(|r| std::array::from_fn(|b| simd::total(&sums[r][b])))
}
