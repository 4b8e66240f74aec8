//! Fast [`sign_step`](crate::kernel::sign_step), [`adamw_step`](crate::kernel::adamw_step) and
//! [`squared_error`](crate::kernel::squared_error).

use rayon::prelude::*;

use super::{reduce, rows};
use crate::dispatch::{Bindings, Variant};
use crate::kernel::sign_step::{self, moved};
use crate::kernel::{adamw_step, squared_error};

/// [`Kernel::run`](crate::dispatch::Kernel::run) of sign_step.
pub fn sign_step(p: &sign_step::Params, _: &Variant, bindings: Bindings<'_>) {
    let [gradient, mut parameter, mut trace] = bindings.take();
    let count = p.count as usize;
    let parameter = &mut parameter.f32_mut()[..count];
    if p.momentum == 0.0 {
        rows::each(parameter, 1, rows::TASK, |first, parameter| step(p, &gradient.f32()[first..], parameter));
        return;
    }
    let tasks = parameter.par_chunks_mut(rows::TASK).zip(trace.f32_mut()[..count].par_chunks_mut(rows::TASK));
    tasks.zip(gradient.f32()[..count].par_chunks(rows::TASK)).for_each(|((parameter, trace), gradient)| {
        follow(p, gradient, trace);
        step(p, trace, parameter);
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of adamw_step.
pub fn adamw_step(p: &adamw_step::Params, _: &Variant, bindings: Bindings<'_>) {
    let [gradient, mut parameter, mut first, mut second] = bindings.take();
    let count = p.count as usize;
    let moments = first.f32_mut()[..count].par_chunks_mut(rows::TASK).zip(second.f32_mut().par_chunks_mut(rows::TASK));
    let tasks = parameter.f32_mut()[..count].par_chunks_mut(rows::TASK).zip(moments);
    tasks.zip(gradient.f32()[..count].par_chunks(rows::TASK)).for_each(|((parameter, (first, second)), gradient)| {
        adapt(p, gradient, parameter, first, second);
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of squared_error.
pub fn squared_error(p: &squared_error::Params, _: &Variant, bindings: Bindings<'_>) {
    let [y, target, mut d_y, mut sums] = bindings.take();
    let (count, cols) = (p.rows as usize, p.cols as usize);
    let panel = rows::per_task(cols);
    let outputs = d_y.f32_mut()[..count * cols].par_chunks_mut(panel * cols);
    outputs.zip(sums.f32_mut()[..count].par_chunks_mut(panel)).enumerate().for_each(|(task, (d_y, sums))| {
        for (i, (d_y, sum)) in d_y.chunks_exact_mut(cols).zip(sums).enumerate() {
            let at = (task * panel + i) * cols;
            *sum = row_error(p.factor, &y.f32()[at..][..cols], &target.f32()[at..][..cols], d_y);
        }
    });
}

vectorized! {
    fn step(p: &sign_step::Params, d: &[f32], parameter: &mut [f32]) {
        parameter.iter_mut().zip(d).for_each(|(value, d)| *value = moved(p, *value, *d));
    }

    fn follow(p: &sign_step::Params, gradient: &[f32], trace: &mut [f32]) {
        trace.iter_mut().zip(gradient).for_each(|(trace, d)| *trace = d + p.momentum * *trace);
    }

    fn adapt(p: &adamw_step::Params, gradient: &[f32], parameter: &mut [f32], first: &mut [f32], second: &mut [f32]) {
        let moments = first.iter_mut().zip(second);
        parameter.iter_mut().zip(moments).zip(gradient).for_each(|((value, (m, v)), d)| {
            adamw_step::moved(p, *d, value, m, v);
        });
    }

    fn row_error(factor: f32, y: &[f32], target: &[f32], d_y: &mut [f32]) -> f32 {
        d_y.iter_mut().zip(y).zip(target).for_each(|((d, y), target)| *d = factor * (y - target));
        reduce::sum_of_two(y, target, |y, target| (y - target) * (y - target))
    }
}
