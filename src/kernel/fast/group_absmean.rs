//! Fast [`group_absmean`](crate::kernel::group_absmean).

use super::{reduce, rows};
use crate::dispatch::{Bindings, Variant};
use crate::kernel::group_absmean::Params;

/// [`Kernel::run`](crate::dispatch::Kernel::run) of group_absmean.
pub fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [w, mut scales] = bindings.take();
    let (rows, cols, per_row) = (p.rows as usize, p.cols as usize, p.groups_per_row as usize);
    let w = w.f32();
    rows::each(&mut scales.f32_mut()[..rows * per_row], per_row, rows::per_task(cols), |first, scales| {
        for (row, scales) in (first..).zip(scales.chunks_exact_mut(per_row)) {
            let groups = w[row * cols..][..cols].chunks(p.group as usize);
            scales.iter_mut().zip(groups).for_each(|(scale, group)| *scale = absmean(group) + p.eps);
        }
    });
}

vectorized! {
    fn absmean(group: &[f32]) -> f32 {
        reduce::sum(group, f32::abs) / group.len() as f32
    }
}
