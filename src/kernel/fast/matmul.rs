//! Fast [`Matmul`](crate::kernel::matmul): the `gemm` crate, weights of 16 bits widened a panel of rows at a time.

use rayon::prelude::*;

use super::gemm::{PANEL_ROWS, Product};
use super::stored::{Stored, by_dtype, decode, decoded, elements};
use crate::dispatch::{Bindings, Role, Variant};
use crate::dtype::Dtype;
use crate::kernel::product::DenseParams;

pub fn run(p: &DenseParams, variant: &Variant, bindings: Bindings<'_>) {
    let [x, w, mut out] = bindings.take();
    let (batch, rows, cols) = (p.batch as usize, p.rows as usize, p.cols as usize);
    let x = decoded(variant.dtype(Role::Activation), x.words(), batch * cols);
    let (out, stride) = (&mut out.f32_mut()[p.out_offset as usize..], p.out_stride as usize);
    if variant.dtype(Role::Weight) == Dtype::F32 {
        return Product { x: &x, w: w.f32(), batch, rows, cols }.write(out, stride);
    }
    let mut panel = vec![0.0; PANEL_ROWS.min(rows) * cols];
    for first in (0..rows).step_by(PANEL_ROWS) {
        let rows = PANEL_ROWS.min(rows - first);
        by_dtype!(variant.dtype(Role::Weight), widen_rows(w.words(), first * cols, &mut panel[..rows * cols], cols));
        Product { x: &x, w: &panel, batch, rows, cols }.write(&mut out[first..], stride);
    }
}

fn widen_rows<T: Stored>(words: &[u32], first: usize, panel: &mut [f32], cols: usize) {
    let stored = &elements::<T>(words)[first..][..panel.len()];
    panel.par_chunks_mut(cols).zip(stored.par_chunks(cols)).for_each(|(panel, stored)| decode(stored, panel));
}
