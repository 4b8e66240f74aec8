//! Fast [`rms_norm`](crate::kernel::rms_norm) and [`layer_norm`](crate::kernel::layer_norm).

use super::{reduce, rows};
use crate::dispatch::{Bindings, Variant};
use crate::kernel::rms_norm::Params;

/// [`Kernel::run`](crate::dispatch::Kernel::run) of rms_norm.
pub fn rms(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, weight, mut out] = bindings.take();
    by_rows(p, x.f32(), out.f32_mut(), |x, out| rms_row(p.eps, x, weight.f32(), out));
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of layer_norm.
pub fn layer(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, weight, bias, mut out] = bindings.take();
    by_rows(p, x.f32(), out.f32_mut(), |x, out| layer_row(p.eps, x, weight.f32(), bias.f32(), out));
}

fn by_rows(p: &Params, x: &[f32], out: &mut [f32], visit: impl Fn(&[f32], &mut [f32]) + Sync) {
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    rows::each(&mut out[..rows * cols], cols, rows::per_task(cols), |first, out| {
        let x = x[first * cols..].chunks_exact(cols);
        out.chunks_exact_mut(cols).zip(x).for_each(|(out, x)| visit(x, out));
    });
}

vectorized! {
    fn rms_row(eps: f32, x: &[f32], weight: &[f32], out: &mut [f32]) {
        let scale = 1.0 / (reduce::sum(x, |x| x * x) / x.len() as f32 + eps).sqrt();
        out.iter_mut().zip(x).zip(weight).for_each(|((out, x), weight)| *out = x * scale * weight);
    }

    fn layer_row(eps: f32, x: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
        let mean = reduce::sum(x, |x| x) / x.len() as f32;
        let scale = 1.0 / (reduce::sum(x, |x| (x - mean) * (x - mean)) / x.len() as f32 + eps).sqrt();
        for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = (x - mean) * scale * weight + bias;
        }
    }
}
