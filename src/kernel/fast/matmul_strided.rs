//! Fast [`MatmulStrided`](crate::kernel::matmul_strided) through the crate `gemm`.

use super::gemm::{Strided, strided};
use super::rows;
use super::stored::decoded;
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::matmul_strided::Params;

/// Rows of the result that one task computes: a function of the shape alone, so that the order of the sums does not
/// depend on the number of threads. Each task rearranges w for itself, which fewer rows would not repay.
fn panel(batch: usize) -> usize {
    (batch / 16).next_multiple_of(16).clamp(16, 128)
}

pub fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [x, w, mut out] = bindings.take();
    let [batch, rows_of_w, depth] = [p.batch, p.rows, p.cols].map(|n| n as usize);
    if batch == 0 || rows_of_w == 0 {
        return;
    }
    let x = Strided { values: &x.f32()[p.x_first as usize..], row: p.x_row as usize, step: p.x_step as usize };
    let last = (rows_of_w - 1) * p.w_row as usize + depth.saturating_sub(1) * p.w_step as usize;
    let w = decoded(variant.dtype(Role::Weight), w.words(), last + 1);
    let w = Strided { values: &w, row: p.w_row as usize, step: p.w_step as usize };
    let out = &mut out.f32_mut()[..batch * rows_of_w];
    rows::each(out, rows_of_w, panel(batch), |first, to| {
        strided(x.from(first), w, depth, rows_of_w, to, p.accumulate == 1);
    });
}
