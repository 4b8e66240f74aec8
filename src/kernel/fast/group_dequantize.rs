//! Fast [`GroupDequantize`](crate::kernel::group_dequantize).

use super::stored::scales;
use super::stream::{by_bits, padded, unpack};
use super::{LANES, rows};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::code::zero_at;
use crate::kernel::group_dequantize::Params;
use crate::kernel::part::ZERO_MIDDLE;

pub fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [codes, scale_words, zeros, mut out] = bindings.take();
    let (n, cols, stride) = (p.rows as usize, p.cols as usize, p.words_per_row as usize);
    let (bits, per_row) = (variant.get("BITS"), p.groups_per_row as usize);
    let symmetric = variant.of(Role::Zero).is_some_and(|z| z.name == ZERO_MIDDLE.name);
    let groups = if per_row == 0 { 1 } else { n * per_row };
    let scales = scales(variant.dtype(Role::Scale), scale_words.words(), groups);
    let zeros: Vec<f32> = (0..groups).map(|g| zero_at(zeros.words(), g, symmetric, bits)).collect();
    let out = &mut out.f32_mut()[p.out_offset as usize..][..n * cols];
    rows::each(out, cols, rows::per_task(cols), |first, out| {
        let mut bytes = vec![0; padded(cols)];
        for (i, out) in out.chunks_exact_mut(cols).enumerate() {
            let words = &codes.words()[(first + i) * stride..][..stride];
            let group = (first + i) * per_row;
            let row = group..group + per_row.max(1);
            let (scales, zeros) = (&scales[row.clone()], &zeros[row]);
            by_bits!(bits, dequantize_row(words, &mut bytes, 0, p.group as usize, scales, zeros, out));
        }
    });
}

vectorized! {
    /// Columns of a row, from `skip` columns into the first group on: their codes spread over `bytes` first, then each group
    /// with its scale and zero point.
    pub(super) fn dequantize_row<const B: u32>(
        words: &[u32],
        bytes: &mut [u8],
        skip: usize,
        group: usize,
        scales: &[f32],
        zeros: &[f32],
        mut out: &mut [f32],
    ) {
        unpack::<B>(words, bytes);
        let (mut bytes, mut left) = (&bytes[..out.len()], group - skip);
        for (scale, zero) in scales.iter().zip(zeros) {
            let n = left.min(out.len());
            let (head, tail) = out.split_at_mut(n);
            let (codes, others) = bytes.split_at(n);
            dequantize(codes, *scale, *zero, head);
            (out, bytes, left) = (tail, others, group);
        }
    }
}

#[inline(always)]
fn dequantize(codes: &[u8], scale: f32, zero: f32, out: &mut [f32]) {
    let (chunks, rest) = out.as_chunks_mut::<LANES>();
    let (code_chunks, code_rest) = codes.as_chunks::<LANES>();
    for (out, codes) in chunks.iter_mut().zip(code_chunks) {
        *out = codes.map(|code| (f32::from(code) - zero) * scale);
    }
    for (out, code) in rest.iter_mut().zip(code_rest) {
        *out = (f32::from(*code) - zero) * scale;
    }
}
