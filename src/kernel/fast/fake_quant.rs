//! Fast [`fake_quant`](crate::kernel::fake_quant) and [`fake_quant_backward`](crate::kernel::fake_quant_backward).

use rayon::prelude::*;

use super::stored::{Stored, by_dtype, elements};
use super::{LANES, rows};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::fake_quant::Params;
use crate::scheme::nearest_shifted;

/// Elements of a task: each costs some ten steps.
fn rows_per_task(cols: usize) -> usize {
    rows::per_task(8 * cols)
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of fake_quant.
pub fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [w, offsets, scales, zeros, mut out] = bindings.take();
    let (cols, per_row) = (p.cols as usize, p.groups_per_row as usize);
    let (offsets, scales, zeros) = (offsets.f32(), scales.f32(), zeros.words());
    let out = &mut out.f32_mut()[..p.rows as usize * cols];
    rows::each(out, cols, rows_per_task(cols), |first, out| {
        for (row, out) in (first..).zip(out.chunks_exact_mut(cols)) {
            let (at, group) = (row * cols, row * per_row);
            let (scales, zeros) = (&scales[group..][..per_row], &zeros[group..][..per_row]);
            by_dtype!(
                variant.dtype(Role::Weight),
                row_of(p, w.words(), at, &offsets[at..][..cols], scales, zeros, out)
            );
        }
    });
}

fn row_of<T: Stored>(
    p: &Params,
    w: &[u32],
    at: usize,
    offsets: &[f32],
    scales: &[f32],
    zeros: &[u32],
    out: &mut [f32],
) {
    let (w, group) = (&elements::<T>(w)[at..][..offsets.len()], p.group as usize);
    for (g, ((w, offsets), out)) in w.chunks(group).zip(offsets.chunks(group)).zip(out.chunks_mut(group)).enumerate() {
        decode(Group::new(p, scales[g], zeros[g]), w, offsets, out);
    }
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of fake_quant_backward.
pub fn backward(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [w, offsets, scales, zeros, d_out, mut d_offsets, mut sums] = bindings.take();
    let (rows, cols, per_row) = (p.rows as usize, p.cols as usize, p.groups_per_row as usize);
    let (w, d_out, offsets, scales, zeros) = (w.words(), d_out.f32(), offsets.f32(), scales.f32(), zeros.words());
    let panel = rows_per_task(cols);
    let outputs = d_offsets.f32_mut()[..rows * cols].par_chunks_mut(panel * cols);
    let outputs = outputs.zip(sums.f32_mut()[..rows * per_row * 2].par_chunks_mut(panel * per_row * 2));
    outputs.enumerate().for_each(|(task, (d_offsets, sums))| {
        let each = d_offsets.chunks_exact_mut(cols).zip(sums.chunks_exact_mut(per_row * 2));
        for (row, (d_offsets, sums)) in (task * panel..).zip(each) {
            let (at, group) = (row * cols, row * per_row);
            let (scales, zeros) = (&scales[group..][..per_row], &zeros[group..][..per_row]);
            let rows = [&offsets[at..][..cols], &d_out[at..][..cols]];
            by_dtype!(variant.dtype(Role::Weight), row_backward(p, w, at, rows, scales, zeros, d_offsets, sums));
        }
    });
}

#[allow(clippy::too_many_arguments, reason = "the slices of one row")]
fn row_backward<T: Stored>(
    p: &Params,
    w: &[u32],
    at: usize,
    [offsets, d_out]: [&[f32]; 2],
    scales: &[f32],
    zeros: &[u32],
    d_offsets: &mut [f32],
    sums: &mut [f32],
) {
    let (w, group) = (&elements::<T>(w)[at..][..offsets.len()], p.group as usize);
    let inputs = w.chunks(group).zip(offsets.chunks(group)).zip(d_out.chunks(group));
    let outputs = d_offsets.chunks_mut(group).zip(sums.as_chunks_mut::<2>().0);
    for (g, (((w, offsets), d_out), (d_offsets, sums))) in inputs.zip(outputs).enumerate() {
        *sums = gradients(Group::new(p, scales[g], zeros[g]), w, offsets, d_out, d_offsets);
    }
}

vectorized! {
    fn decode<T: Stored>(group: Group, w: &[T], offsets: &[f32], out: &mut [f32]) {
        let (whole, rest) = w.as_chunks::<LANES>();
        let (whole_offsets, rest_offsets) = offsets.as_chunks::<LANES>();
        let (whole_out, rest_out) = out.as_chunks_mut::<LANES>();
        for ((w, offsets), out) in whole.iter().zip(whole_offsets).zip(whole_out) {
            let codes = group.codes(w, offsets);
            for lane in 0..LANES {
                out[lane] = (codes[lane].clamp(0, group.most) - group.zero) as f32 * group.scale;
            }
        }
        for ((w, offset), out) in rest.iter().zip(rest_offsets).zip(rest_out) {
            let code = nearest_shifted(w.value(), group.scale, *offset) + group.zero;
            *out = (code.clamp(0, group.most) - group.zero) as f32 * group.scale;
        }
    }

    fn gradients<T: Stored>(group: Group, w: &[T], offsets: &[f32], d_out: &[f32], d_offsets: &mut [f32]) -> [f32; 2] {
        let mut sums = [[0.0; LANES]; 2];
        let (whole, rest) = w.as_chunks::<LANES>();
        let (whole_offsets, rest_offsets) = offsets.as_chunks::<LANES>();
        let (whole_d, rest_d) = d_out.as_chunks::<LANES>();
        let (whole_out, rest_out) = d_offsets.as_chunks_mut::<LANES>();
        for (((w, offsets), d), out) in whole.iter().zip(whole_offsets).zip(whole_d).zip(whole_out) {
            let codes = group.codes(w, offsets);
            for lane in 0..LANES {
                let [d_offset, scale, zero] = group.gradient(w[lane].value(), codes[lane], d[lane]);
                out[lane] = d_offset;
                sums[0][lane] += scale;
                sums[1][lane] += zero;
            }
        }
        for (lane, (((w, offset), d), out)) in rest.iter().zip(rest_offsets).zip(rest_d).zip(rest_out).enumerate() {
            let code = nearest_shifted(w.value(), group.scale, *offset) + group.zero;
            let [d_offset, scale, zero] = group.gradient(w.value(), code, *d);
            *out = d_offset;
            sums[0][lane] += scale;
            sums[1][lane] += zero;
        }
        sums.map(|lanes| lanes.iter().sum())
    }
}

/// How the values of one group become codes.
#[derive(Clone, Copy)]
struct Group {
    scale: f32,
    zero: i32,
    most: i32,
}

impl Group {
    #[inline(always)]
    fn new(p: &Params, scale: f32, zero: u32) -> Self {
        Self { scale, zero: zero as i32, most: (1 << p.bits) - 1 }
    }

    /// Codes before they are clamped.
    #[inline(always)]
    fn codes<T: Stored>(self, w: &[T; LANES], offsets: &[f32; LANES]) -> [i32; LANES] {
        let (mut codes, mut ties) = ([0; LANES], 0);
        for lane in 0..LANES {
            let (steps, tie) = nearest(w[lane].value(), self.scale, offsets[lane]);
            codes[lane] = steps + self.zero;
            ties |= i32::from(tie);
        }
        if ties != 0 {
            for lane in 0..LANES {
                codes[lane] = nearest_shifted(w[lane].value(), self.scale, offsets[lane]) + self.zero;
            }
        }
        codes
    }

    /// What the offset gets, and the terms of the two sums.
    #[inline(always)]
    fn gradient(self, w: f32, code: i32, d: f32) -> [f32; 3] {
        let steps = (code.clamp(0, self.most) - self.zero) as f32;
        let inside = (code >= 0) & (code <= self.most);
        let through = d * self.scale;
        let within = if inside { w / self.scale } else { 0.0 };
        [if inside { through } else { 0.0 }, d * (steps - within), if inside { 0.0 } else { -through }]
    }
}

/// Quotients beyond this are clamped before they are corrected, as in `scheme::nearest_shifted`.
const FARTHEST: f32 = 1024.0;
/// A number whose last significand bit is worth 1: added to a small integer it leaves that in the low bits.
const SHIFT: f32 = 12_582_912.0;

/// `scheme::nearest_shifted` with selections in place of branches. Where the second result is true the value lies at a
/// threshold and the specification must decide.
#[inline(always)]
fn nearest(value: f32, scale: f32, offset: f32) -> (i32, bool) {
    let (value, scale) = if scale < 0.0 { (-value, -scale) } else { (value, scale) };
    let quotient = value / scale + offset;
    let quotient = if quotient > FARTHEST { FARTHEST } else { quotient };
    let mut low = if quotient < -FARTHEST { -FARTHEST } else { quotient }.floor();
    low -= if scale * (low - offset) > value { 1.0 } else { 0.0 };
    low += if scale * (low + 1.0 - offset) <= value { 1.0 } else { 0.0 };
    let steps = (low + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
    let steps = if low.is_nan() { 0 } else { steps };
    let middle = scale * (low + 0.5 - offset);
    ((steps + i32::from(value > middle)).clamp(-1024, 1024), value == middle)
}
