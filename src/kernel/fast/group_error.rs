//! Fast [`GroupError`](crate::kernel::group_error).

use super::stored::{Stored, by_dtype, elements};
use super::stream::{by_bits, padded, unpack};
use super::{LANES, rows};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::group_error::Params;

pub fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [w, codes, scales, zeros, mut out] = bindings.take();
    let (w, codes, scales, zeros) = (w.words(), codes.words(), scales.f32(), zeros.words());
    let out = &mut out.f32_mut()[..4 * p.rows as usize];
    rows::each(out, 4, rows::per_task(p.cols as usize), |first, out| {
        by_dtype!(variant.dtype(Role::Weight), error_rows(p, first, w, codes, scales, zeros, out));
    });
}

fn error_rows<T: Stored>(
    p: &Params,
    first: usize,
    w: &[u32],
    codes: &[u32],
    scales: &[f32],
    zeros: &[u32],
    out: &mut [f32],
) {
    let (w, cols, stride) = (elements::<T>(w), p.cols as usize, p.words_per_row as usize);
    let mut bytes = vec![0; padded(cols)];
    for (i, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let row = first + i;
        let (values, words) = (&w[row * cols..][..cols], &codes[row * stride..][..stride]);
        by_bits!(p.bits, unpack_row(words, &mut bytes));
        let group = row * p.groups_per_row as usize;
        *out = error_row(values, &bytes, p.group as usize, &scales[group..], &zeros[group..]);
    }
}

vectorized! {
    fn unpack_row<const B: u32>(words: &[u32], bytes: &mut [u8]) {
        unpack::<B>(words, bytes);
    }

    fn error_row<T: Stored>(values: &[T], codes: &[u8], group: usize, scales: &[f32], zeros: &[u32]) -> [f32; 4] {
        let mut sums = [[0.0; LANES]; 4];
        for (k, (values, codes)) in values.chunks(group).zip(codes.chunks(group)).enumerate() {
            let (scale, zero) = (scales[k], zeros[k] as f32);
            let (chunks, rest) = values.as_chunks::<LANES>();
            let (code_chunks, code_rest) = codes[..values.len()].as_chunks::<LANES>();
            for (values, codes) in chunks.iter().zip(code_chunks) {
                add(&mut sums, values, codes, scale, zero);
            }
            for (lane, (value, code)) in rest.iter().zip(code_rest).enumerate() {
                let terms = terms(value.value(), *code, scale, zero);
                sums.iter_mut().zip(terms).for_each(|(sum, term)| sum[lane] += term);
            }
        }
        sums.map(|lanes| lanes.iter().sum())
    }
}

#[inline(always)]
fn terms(x: f32, code: u8, scale: f32, zero: f32) -> [f32; 4] {
    let v = (f32::from(code) - zero) * scale;
    [x * x, (x - v) * (x - v), x * v, v * v]
}

#[inline(always)]
fn add<T: Stored>(sums: &mut [[f32; LANES]; 4], values: &[T; LANES], codes: &[u8; LANES], scale: f32, zero: f32) {
    for lane in 0..LANES {
        let terms = terms(values[lane].value(), codes[lane], scale, zero);
        sums[0][lane] += terms[0];
        sums[1][lane] += terms[1];
        sums[2][lane] += terms[2];
        sums[3][lane] += terms[3];
    }
}
