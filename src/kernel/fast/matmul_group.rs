//! Fast [`MatmulGroup`](crate::kernel::matmul_group): a panel of rows is dequantized, then multiplied by the `gemm` crate.

use rayon::prelude::*;

use super::gemm::{PANEL_ROWS, Product};
use super::group_dequantize::dequantize_row;
use super::stored::{decoded, scales};
use super::stream::{by_bits, padded};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::code::zero_at;
use crate::kernel::part::ZERO_MIDDLE;
use crate::kernel::product::GroupParams;

pub fn run(p: &GroupParams, variant: &Variant, bindings: Bindings<'_>) {
    let [x, codes, scale_words, zeros, mut out] = bindings.take();
    let (batch, rows, cols) = (p.batch as usize, p.rows as usize, p.cols as usize);
    let (bits, stride, per_row) = (variant.get("BITS"), p.words_per_row as usize, p.groups_per_row as usize);
    let symmetric = variant.of(Role::Zero).is_some_and(|z| z.name == ZERO_MIDDLE.name);
    let groups = if per_row == 0 { 1 } else { rows * per_row };
    let scales = scales(variant.dtype(Role::Scale), scale_words.words(), groups);
    let zeros: Vec<f32> = (0..groups).map(|g| zero_at(zeros.words(), g, symmetric, bits)).collect();
    let x = decoded(variant.dtype(Role::Activation), x.words(), batch * cols);
    let (out, codes) = (&mut out.f32_mut()[p.out_offset as usize..], codes.words());
    let mut panel = vec![0.0; PANEL_ROWS.min(rows) * cols];
    for first in (0..rows).step_by(PANEL_ROWS) {
        let rows = PANEL_ROWS.min(rows - first);
        panel[..rows * cols].par_chunks_mut(cols).enumerate().for_each_init(
            || vec![0; padded(cols)],
            |bytes, (i, values)| {
                let (words, group) = (&codes[(first + i) * stride..][..stride], (first + i) * per_row);
                let (scales, zeros) = (&scales[group..], &zeros[group..]);
                by_bits!(bits, dequantize_row(words, bytes, p.group as usize, scales, zeros, values));
            },
        );
        Product { x: &x, w: &panel, batch, rows, cols }.write(&mut out[first..], p.out_stride as usize);
    }
}
