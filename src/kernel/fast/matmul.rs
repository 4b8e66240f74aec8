//! Fast [`Matmul`](crate::kernel::matmul) through the crate `gemm`. Weights of 16 bits become f32 a tile at a time: the
//! tile stays in the second cache, and no f32 copy of the weight exists.

use std::ops::Range;

use super::columns::Target;
use super::gemm::{Matrix, Strided, product, strided};
use super::matvec;
use super::stored::{Bf16, F16, Stored, decode, decoded, elements};
use super::{LANES, rows};
use crate::dispatch::{Bindings, Role, Variant};
use crate::dtype::Dtype;
use crate::kernel::product::DenseParams;

/// A weight that gives out tiles in f32.
pub(super) trait Tiles: Sync {
    /// Some rows and columns; `scratch` has room for them.
    fn tile<'a>(&'a self, rows: Range<usize>, cols: Range<usize>, scratch: &'a mut [f32]) -> Matrix<'a>;
}

/// Columns of a tile.
const DEPTH: usize = 512;
/// Most rows of a tile: half a megabyte with [`DEPTH`], and enough work for each time x is rearranged.
const PANEL: usize = 256;

/// The products of all rows of x, `[batch, cols]`, with a weight.
pub(super) fn products(weight: &impl Tiles, x: &[f32], cols: usize, target: Target<'_>, out: &mut [f32]) {
    let batch = x.len() / cols.max(1);
    let x = by_columns(x, cols);
    // A function of the shape alone: the order of the sums must not depend on the number of threads.
    let panel = (target.rows / 16).next_multiple_of(32).clamp(32, PANEL);
    target.by_panels(batch, panel, out, |first, y| {
        let rows = first..first + y.len() / batch;
        let mut scratch = vec![0.0; rows.len() * DEPTH.min(cols)];
        for (i, x) in x.chunks(DEPTH * batch).enumerate() {
            let from = i * DEPTH;
            let tile = weight.tile(rows.clone(), from..from + x.len() / batch, &mut scratch);
            product(x, batch, tile, y, i > 0);
        }
    });
}

/// `[batch, cols]` turned, once for all panels: `gemm` rearranges x again for each, and does so faster from columns.
fn by_columns(x: &[f32], cols: usize) -> Vec<f32> {
    let batch = x.len() / cols.max(1);
    let mut all = vec![0.0; x.len()];
    rows::each(&mut all, batch, rows::per_task(batch), |first, to| {
        // Sixteen rows at a time: each line that is written is filled at once.
        for part in (0..batch).step_by(LANES) {
            let part = part..(part + LANES).min(batch);
            for (k, to) in to.chunks_exact_mut(batch).enumerate() {
                for b in part.clone() {
                    to[b] = x[b * cols + first + k];
                }
            }
        }
    });
    all
}

/// A dense weight.
struct Dense<'a, T> {
    values: &'a [T],
    cols: usize,
}

impl Tiles for Dense<'_, f32> {
    fn tile<'a>(&'a self, rows: Range<usize>, cols: Range<usize>, _: &'a mut [f32]) -> Matrix<'a> {
        let values = &self.values[rows.start * self.cols + cols.start..];
        Matrix { values, rows: rows.len(), stride: self.cols }
    }
}

/// Weights that have to be decoded first.
struct Halves<'a, T>(Dense<'a, T>);

impl<T: Stored> Tiles for Halves<'_, T> {
    fn tile<'a>(&'a self, rows: Range<usize>, cols: Range<usize>, scratch: &'a mut [f32]) -> Matrix<'a> {
        for (row, to) in rows.clone().zip(scratch.chunks_exact_mut(cols.len())) {
            decode(&self.0.values[row * self.0.cols + cols.start..][..cols.len()], to);
        }
        Matrix { values: scratch, rows: rows.len(), stride: cols.len() }
    }
}

/// Elements of a weight that each task may lay out for itself at most: they stay in the second cache.
const SMALL: usize = 1 << 18;
/// Rows of x of one task with a small weight, and rows that repay this way.
const SMALL_TASK: usize = 256;
const SMALL_BATCH: usize = 64;

/// Rows of x from which decoding to tiles pays; below, passes of [`matvec`] decode several times and are faster still.
const HALVES_BATCH: u32 = 24;

pub fn run(p: &DenseParams, variant: &Variant, bindings: Bindings<'_>) {
    let dtype = variant.dtype(Role::Weight);
    if dtype != Dtype::F32 && p.batch < HALVES_BATCH {
        return matvec::run(p, variant, bindings);
    }
    let [x, w, mut out] = bindings.take();
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let x = decoded(variant.dtype(Role::Activation), x.words(), p.batch as usize * cols);
    let target = Target { rows, offset: p.out_offset as usize, stride: p.out_stride as usize, bias: None };
    let out = out.f32_mut();
    let (batch, whole) = (p.batch as usize, target.offset == 0 && target.stride == rows);
    if whole && rows * cols <= SMALL && batch >= SMALL_BATCH {
        // By rows of x: results go straight to their places, and x is read as it lies.
        let w = decoded(dtype, w.words(), rows * cols);
        let [x, w] = [&x[..], &w[..]].map(|values| Strided { values, row: cols, step: 1 });
        let panel = (batch / 16).next_multiple_of(SMALL_BATCH).min(SMALL_TASK);
        return rows::each(&mut out[..batch * rows], rows, panel, |first, to| {
            strided(x.from(first), w, cols, rows, to, false);
        });
    }
    match dtype {
        Dtype::F32 => products(&Dense::<f32> { values: elements(w.words()), cols }, &x, cols, target, out),
        Dtype::F16 => products(&Halves(Dense::<F16> { values: elements(w.words()), cols }), &x, cols, target, out),
        Dtype::Bf16 => products(&Halves(Dense::<Bf16> { values: elements(w.words()), cols }), &x, cols, target, out),
    }
}
