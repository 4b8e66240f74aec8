//! Fast [`activate`](crate::kernel::activate), [`gate`](crate::kernel::gate), [`add`](crate::kernel::add),
//! [`add_bias`](crate::kernel::add_bias), [`scale_by`](crate::kernel::scale_by),
//! [`scale_shift`](crate::kernel::scale_shift) and [`gather_columns`](crate::kernel::gather_columns).

use super::exp::exp;
use super::rows;
use crate::activation::Activation;
use crate::dispatch::{Bindings, Variant};
use crate::kernel::activate::Params;
use crate::kernel::{add_bias, part, scale_by};

/// Steps of work that an activation function costs beside those of an addition.
const FUNCTION: usize = 4;

/// [`Kernel::run`](crate::dispatch::Kernel::run) of activate.
pub fn activate(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [x, mut out] = bindings.take();
    let activation = part::activation(variant);
    rows::each(&mut out.f32_mut()[..p.count as usize], 1, rows::per_task(FUNCTION), |first, out| {
        activate_all(activation, &x.f32()[first..], out);
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of gate.
pub fn gate(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [gate, up, mut out] = bindings.take();
    let activation = part::activation(variant);
    rows::each(&mut out.f32_mut()[..p.count as usize], 1, rows::per_task(FUNCTION), |first, out| {
        gate_all(activation, &gate.f32()[first..], &up.f32()[first..], out);
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of add.
pub fn add(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [a, b, mut out] = bindings.take();
    rows::each(&mut out.f32_mut()[..p.count as usize], 1, rows::per_task(1), |first, out| {
        add_all(&a.f32()[first..], &b.f32()[first..], out);
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of add_bias.
pub fn add_bias(p: &add_bias::Params, _: &Variant, bindings: Bindings<'_>) {
    let [mut x, bias] = bindings.take();
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    rows::each(&mut x.f32_mut()[..rows * cols], cols, rows::per_task(cols), |_, x| {
        x.chunks_exact_mut(cols).for_each(|row| add_to(bias.f32(), row));
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of scale_by.
pub fn scale_by(p: &scale_by::Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, factor, mut out] = bindings.take();
    rows::each(&mut out.f32_mut()[..p.count as usize], 1, rows::per_task(1), |first, out| {
        scale_all(&x.f32()[first..], factor.f32()[0], out);
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of scale_shift.
pub fn scale_shift(p: &add_bias::Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, scale, shift, mut out] = bindings.take();
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    rows::each(&mut out.f32_mut()[..rows * cols], cols, rows::per_task(cols), |first, out| {
        let x = x.f32()[first * cols..].chunks_exact(cols);
        out.chunks_exact_mut(cols).zip(x).for_each(|(out, x)| scale_shift_row(x, scale.f32(), shift.f32(), out));
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of gather_columns.
pub fn gather_columns(p: &add_bias::Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, columns, mut out] = bindings.take();
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    rows::each(&mut out.f32_mut()[..rows * cols], cols, rows::per_task(cols), |first, out| {
        let x = x.f32()[first * cols..].chunks_exact(cols);
        for (out, x) in out.chunks_exact_mut(cols).zip(x) {
            out.iter_mut().zip(columns.words()).for_each(|(out, column)| *out = x[*column as usize]);
        }
    });
}

/// Calls a function with the activation as a constant, so that the loop in it holds no choice.
macro_rules! by_activation {
    ($activation:expr, $function:ident($($argument:expr),*)) => {
        match $activation {
            Activation::Silu => $function(|x| Activation::Silu.apply_with(x, exp), $($argument),*),
            Activation::Gelu => $function(|x| Activation::Gelu.apply_with(x, exp), $($argument),*),
            Activation::GeluTanh => $function(|x| Activation::GeluTanh.apply_with(x, exp), $($argument),*),
            Activation::Relu => $function(|x| Activation::Relu.apply_with(x, exp), $($argument),*),
            Activation::ReluSquared => $function(|x| Activation::ReluSquared.apply_with(x, exp), $($argument),*),
            Activation::Sigmoid => $function(|x| Activation::Sigmoid.apply_with(x, exp), $($argument),*),
        }
    };
}

vectorized! {
    fn activate_all(activation: Activation, x: &[f32], out: &mut [f32]) {
        by_activation!(activation, map(x, out));
    }

    fn gate_all(activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
        by_activation!(activation, map_times(gate, up, out));
    }

    fn add_all(a: &[f32], b: &[f32], out: &mut [f32]) {
        out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a + b);
    }

    fn scale_all(x: &[f32], factor: f32, out: &mut [f32]) {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = x * factor);
    }

    fn scale_shift_row(x: &[f32], scale: &[f32], shift: &[f32], out: &mut [f32]) {
        let factors = scale.iter().zip(shift);
        out.iter_mut().zip(x).zip(factors).for_each(|((out, x), (scale, shift))| *out = x * scale + shift);
    }

    fn add_to(bias: &[f32], row: &mut [f32]) {
        row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
    }
}

#[inline(always)]
fn map(function: impl Fn(f32) -> f32, x: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out = function(*x));
}

#[inline(always)]
fn map_times(function: impl Fn(f32) -> f32, gate: &[f32], up: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(gate).zip(up).for_each(|((out, gate), up)| *out = function(*gate) * up);
}
