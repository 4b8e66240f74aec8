//! Fast [`activate_backward`](crate::kernel::activate_backward), [`gate_backward`](crate::kernel::gate_backward) and
//! [`embed_backward`](crate::kernel::embed_backward).

use rayon::prelude::*;

use super::exp::exp;
use super::rows;
use crate::activation::Activation;
use crate::dispatch::{Bindings, Variant};
use crate::kernel::activate::Params;
use crate::kernel::embed_backward;
use crate::kernel::part;

/// Elements of a task: each costs some ten steps.
const TASK: usize = rows::TASK / 8;

/// [`Kernel::run`](crate::dispatch::Kernel::run) of activate_backward.
pub fn activate(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [x, d_y, mut d_x] = bindings.take();
    let activation = part::activation(variant);
    rows::each(&mut d_x.f32_mut()[..p.count as usize], 1, TASK, |first, d_x| {
        activate_all(activation, &x.f32()[first..], &d_y.f32()[first..], d_x);
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of gate_backward.
pub fn gate(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [gate, up, d_y, mut d_gate, mut d_up] = bindings.take();
    let (activation, count) = (part::activation(variant), p.count as usize);
    let inputs = [&gate.f32()[..count], &up.f32()[..count], &d_y.f32()[..count]];
    let outputs = d_gate.f32_mut()[..count].par_chunks_mut(TASK).zip(d_up.f32_mut()[..count].par_chunks_mut(TASK));
    outputs.enumerate().for_each(|(i, (d_gate, d_up))| {
        let [gate, up, d_y] = inputs.map(|all| &all[i * TASK..][..d_gate.len()]);
        gate_all(activation, gate, up, d_y, d_gate, d_up);
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of embed_backward.
pub fn embed(p: &embed_backward::Params, _: &Variant, bindings: Bindings<'_>) {
    let [starts, places, d_y, mut d_table] = bindings.take();
    let (count, cols) = (p.rows as usize, p.cols as usize);
    rows::each(&mut d_table.f32_mut()[..count * cols], cols, rows::per_task(cols), |first, d_table| {
        let ends = starts.words()[first..].windows(2);
        for (d_row, ends) in d_table.chunks_exact_mut(cols).zip(ends) {
            d_row.fill(0.0);
            for place in &places.words()[ends[0] as usize..ends[1] as usize] {
                let d_y = &d_y.f32()[*place as usize * cols..][..cols];
                d_row.iter_mut().zip(d_y).for_each(|(sum, d)| *sum += d);
            }
        }
    });
}

/// Calls a function with the activation as a constant, so that the loop in it holds no choice.
macro_rules! by_activation {
    ($activation:expr, $function:ident($($argument:expr),*)) => {
        match $activation {
            Activation::Silu => $function(Activation::Silu, $($argument),*),
            Activation::Gelu => $function(Activation::Gelu, $($argument),*),
            Activation::GeluTanh => $function(Activation::GeluTanh, $($argument),*),
            Activation::Relu => $function(Activation::Relu, $($argument),*),
            Activation::ReluSquared => $function(Activation::ReluSquared, $($argument),*),
            Activation::Sigmoid => $function(Activation::Sigmoid, $($argument),*),
        }
    };
}

vectorized! {
    fn activate_all(activation: Activation, x: &[f32], d_y: &[f32], d_x: &mut [f32]) {
        by_activation!(activation, slopes(x, d_y, d_x));
    }

    fn gate_all(activation: Activation, gate: &[f32], up: &[f32], d_y: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
        by_activation!(activation, gates(gate, up, d_y, d_gate, d_up));
    }
}

#[inline(always)]
fn slopes(activation: Activation, x: &[f32], d_y: &[f32], d_x: &mut [f32]) {
    d_x.iter_mut().zip(x).zip(d_y).for_each(|((d_x, x), d_y)| *d_x = activation.slope_with(*x, exp) * d_y);
}

#[inline(always)]
fn gates(activation: Activation, gate: &[f32], up: &[f32], d_y: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    for (((d_gate, d_up), (gate, up)), d_y) in d_gate.iter_mut().zip(d_up).zip(gate.iter().zip(up)).zip(d_y) {
        *d_gate = activation.slope_with(*gate, exp) * up * d_y;
        *d_up = activation.apply_with(*gate, exp) * d_y;
    }
}
