//! A step of `AdamW` (decoupled weight decay): `m += (1 - beta1) * (gradient - m)`, `v = beta2 * v + (1 - beta2) *
//! gradient^2`, `parameter = clamp(keep * parameter - rate * m / (sqrt(v) * root + eps), low, high)`.
//!
//! The corrections of the moments' bias, which are one number a step, are in `rate = learning rate / (1 - beta1^t)` and
//! `root = 1 / sqrt(1 - beta2^t)`; the weight decay is in `keep = 1 - learning rate * decay`.
//!
//! Bindings: gradient; parameter; first moment m; second moment v; f32.

use bytemuck::{Pod, Zeroable};

use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct AdamWStep;

/// How far to go.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub count: u32,
    /// What a parameter is multiplied by before the step.
    pub keep: f32,
    /// Length of the step, corrected for the bias of the first moment.
    pub rate: f32,
    /// Correction of the root of the second moment.
    pub root: f32,
    /// Share of a gradient that enters the first moment, `1 - beta1`.
    pub enter1: f32,
    /// Share of the second moment that is kept, `beta2`.
    pub beta2: f32,
    /// Share of a squared gradient that enters the second moment, `1 - beta2`.
    pub enter2: f32,
    /// Added to the root, so that nothing is divided by 0.
    pub eps: f32,
    /// Smallest value of a parameter.
    pub low: f32,
    /// Largest value of a parameter.
    pub high: f32,
}

const WG: u32 = 256;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for AdamWStep {
    type Params = Params;
    const NAME: &'static str = "adamw_step";
    const ACCESS: &'static [Access] = &[Access::Read, Access::ReadWrite, Access::ReadWrite, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/adamw_step.wgsl");
    const PTX: Option<&'static str> = super::ptx!("adamw_step");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::train::adamw_step);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [gradient, mut parameter, mut first, mut second] = bindings.take();
        for i in 0..p.count as usize {
            let (value, m, v) = (&mut parameter.f32_mut()[i], &mut first.f32_mut()[i], &mut second.f32_mut()[i]);
            moved(p, gradient.f32()[i], value, m, v);
        }
    }
}

/// Moves a parameter and its moments.
#[inline(always)]
pub(super) fn moved(p: &Params, gradient: f32, value: &mut f32, m: &mut f32, v: &mut f32) {
    *m += p.enter1 * (gradient - *m);
    *v = p.beta2 * *v + p.enter2 * (gradient * gradient);
    let moved = p.keep * *value - p.rate * (*m / (v.sqrt() * p.root + p.eps));
    *value = moved.clamp(p.low, p.high);
}
