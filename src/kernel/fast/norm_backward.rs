//! Fast [`rms_norm_backward`](crate::kernel::rms_norm_backward), [`layer_norm_backward`](crate::kernel::layer_norm_backward),
//! [`norm_weight_backward`](crate::kernel::norm_weight_backward) and [`column_sum`](crate::kernel::column_sum).

use rayon::prelude::*;

use super::{reduce, rows};
use crate::dispatch::{Bindings, Variant};
use crate::kernel::{add_bias, rms_norm::Params};

/// [`Kernel::run`](crate::dispatch::Kernel::run) of rms_norm_backward.
pub fn rms(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    by_rows(p, bindings, false);
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of layer_norm_backward.
pub fn layer(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    by_rows(p, bindings, true);
}

fn by_rows(p: &Params, bindings: Bindings<'_>, centred: bool) {
    let [x, weight, d_y, mut d_x, mut stats] = bindings.take();
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let task = rows::per_task(cols);
    let results = d_x.f32_mut()[..rows * cols].par_chunks_mut(task * cols);
    results.zip(stats.f32_mut()[..2 * rows].par_chunks_mut(2 * task)).enumerate().for_each(|(i, (d_x, stats))| {
        let inputs = [x.f32(), d_y.f32()].map(|all| all[i * task * cols..].chunks_exact(cols));
        let [x, d_y] = inputs;
        let stats = stats.as_chunks_mut::<2>().0;
        for (((d_x, stats), x), d_y) in d_x.chunks_exact_mut(cols).zip(stats).zip(x).zip(d_y) {
            *stats = row(centred, p.eps, x, weight.f32(), d_y, d_x);
        }
    });
}

vectorized! {
    /// The mean and r.
    fn row(centred: bool, eps: f32, x: &[f32], weight: &[f32], d_y: &[f32], d_x: &mut [f32]) -> [f32; 2] {
        let cols = x.len() as f32;
        let mean = if centred { reduce::sum(x, |x| x) / cols } else { 0.0 };
        let r = 1.0 / (reduce::sum(x, |x| (x - mean) * (x - mean)) / cols + eps).sqrt();
        d_x.iter_mut().zip(d_y).zip(weight).for_each(|((d_x, d_y), weight)| *d_x = d_y * weight);
        let shift = if centred { reduce::sum(d_x, |g| g) / cols } else { 0.0 };
        let along = reduce::sum_of_two(d_x, x, |g, x| g * (x - mean)) * r / cols;
        d_x.iter_mut().zip(x).for_each(|(d_x, x)| *d_x = r * (*d_x - shift - (x - mean) * r * along));
        [mean, r]
    }

    fn add_scaled(x: &[f32], d_y: &[f32], mean: f32, r: f32, sums: &mut [f32]) {
        sums.iter_mut().zip(x).zip(d_y).for_each(|((sum, x), d_y)| *sum += d_y * (x - mean) * r);
    }

    fn add(x: &[f32], sums: &mut [f32]) {
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
    }
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of norm_weight_backward.
pub fn weight(p: &add_bias::Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, d_y, stats, mut d_weight] = bindings.take();
    let (x, d_y, stats) = (x.f32(), d_y.f32(), stats.f32().as_chunks::<2>().0);
    by_columns(p, d_weight.f32_mut(), |row, at, sums| {
        let [mean, r] = stats[row];
        add_scaled(&x[at..], &d_y[at..], mean, r, sums);
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of column_sum.
pub fn columns(p: &add_bias::Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, mut out] = bindings.take();
    let x = x.f32();
    by_columns(p, out.f32_mut(), |_, at, sums| add(&x[at..], sums));
}

/// Calls `visit(row, first_element, sums)` row by row for runs of columns, in parallel if there are several.
fn by_columns(p: &add_bias::Params, out: &mut [f32], visit: impl Fn(usize, usize, &mut [f32]) + Sync) {
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    // Whole lines of memory, so that tasks do not share any.
    let panel = rows::per_task(rows).next_multiple_of(64);
    rows::each(&mut out[..cols], 1, panel, |first, sums| {
        sums.fill(0.0);
        (0..rows).for_each(|row| visit(row, row * cols + first, sums));
    });
}
