//! A step of `SignSGD`: `parameter = clamp(parameter - rate * sign(d), low, high)`, where d is the gradient or, with a
//! momentum, the trace `trace = momentum * trace + gradient`.
//!
//! Bindings: gradient; parameter; trace, of which nothing is read or written without a momentum; f32.

use bytemuck::{Pod, Zeroable};

use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct SignStep;

/// How far to go.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub count: u32,
    /// Length of the step.
    pub rate: f32,
    /// Share of the trace that is kept; 0 for none.
    pub momentum: f32,
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

impl Kernel for SignStep {
    type Params = Params;
    const NAME: &'static str = "sign_step";
    const ACCESS: &'static [Access] = &[Access::Read, Access::ReadWrite, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/sign_step.wgsl");
    const PTX: Option<&'static str> = super::ptx!("sign_step");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::train::sign_step);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [gradient, mut parameter, mut trace] = bindings.take();
        for i in 0..p.count as usize {
            let mut d = gradient.f32()[i];
            if p.momentum != 0.0 {
                d += p.momentum * trace.f32()[i];
                trace.f32_mut()[i] = d;
            }
            parameter.f32_mut()[i] = moved(p, parameter.f32()[i], d);
        }
    }
}

/// Where a parameter goes.
#[inline(always)]
pub(super) fn moved(p: &Params, value: f32, d: f32) -> f32 {
    let down = if d > 0.0 { value - p.rate } else { value };
    let moved = if d < 0.0 { value + p.rate } else { down };
    moved.clamp(p.low, p.high)
}
