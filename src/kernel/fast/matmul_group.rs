//! Fast [`MatmulGroup`](crate::kernel::matmul_group): tiles of the weight are dequantized into the second cache and go
//! through the crate `gemm`, as in [`matmul`](super::matmul).

use std::ops::Range;

use super::columns::Target;
use super::gemm::Matrix;
use super::group_dequantize::dequantize_row;
use super::group_fixed;
use super::matmul::{Tiles, products};
use super::matvec_group::{self, target};
use super::stored::{Stored, by_dtype, decode, decoded, elements};
use super::stream::{by_bits, padded};
use super::weight::Weight;
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::product::GroupParams;

/// Rows of x from which dequantizing may pay; below, passes of [`matvec_group`] read the codes several times and are
/// faster still.
const TILES_BATCH: u32 = 72;

pub fn run(p: &GroupParams, variant: &Variant, bindings: Bindings<'_>) {
    if p.batch < TILES_BATCH {
        return matvec_group::run(p, variant, bindings);
    }
    let [x, codes, scales, zeros, bias, mut out] = bindings.take();
    let target = target(p, p.bias_of(&bias));
    let w = Weight::new(p, variant, codes.words(), scales.words(), zeros.words());
    let x = decoded(variant.dtype(Role::Activation), x.words(), p.batch as usize * p.cols as usize);
    by_dtype!(variant.dtype(Role::Scale), by_width(variant.get("BITS"), w, &x, target, out.f32_mut()));
}

fn by_width<T: Stored>(bits: u32, w: Weight<'_>, x: &[f32], target: Target<'_>, out: &mut [f32]) {
    by_bits!(bits, through_tiles::<T>(w, x, target, out));
}

fn through_tiles<T: Stored, const B: u32>(w: Weight<'_>, x: &[f32], target: Target<'_>, out: &mut [f32]) {
    // Codes of 8 bits take two sums for each of the others' one, and are slower than tiles then.
    if B < 8 && group_fixed::products::<T, B>(w, x, target, out) {
        return;
    }
    let scales = elements::<T>(w.scales);
    products(&Packed::<T, B> { w, scales }, x, w.p.cols as usize, target, out);
}

/// A packed weight with scales of type `T`.
struct Packed<'a, T, const B: u32> {
    w: Weight<'a>,
    scales: &'a [T],
}

impl<T: Stored, const B: u32> Tiles for Packed<'_, T, B> {
    fn tile<'a>(&'a self, rows: Range<usize>, cols: Range<usize>, scratch: &'a mut [f32]) -> Matrix<'a> {
        let group = self.w.p.group as usize;
        let groups = cols.start / group..cols.end.div_ceil(group);
        let words = cols.start * B as usize / 32..(cols.end * B as usize).div_ceil(32);
        let mut bytes = vec![0; padded(cols.len())];
        let (mut scales, mut zeros) = (vec![0.0; groups.len()], vec![(1 << (B - 1)) as f32; groups.len()]);
        for (row, to) in rows.clone().zip(scratch.chunks_exact_mut(cols.len())) {
            let first = self.w.groups(row).0 + groups.start;
            decode(&self.scales[first..][..groups.len()], &mut scales);
            if let Some(stored) = self.w.zeros {
                zeros.iter_mut().zip(&stored[first..]).for_each(|(zero, stored)| *zero = f32::from(*stored));
            }
            let words = &self.w.row(row)[words.clone()];
            dequantize_row::<B>(words, &mut bytes, cols.start % group, group, &scales, &zeros, to);
        }
        Matrix { values: scratch, rows: rows.len(), stride: cols.len() }
    }
}
