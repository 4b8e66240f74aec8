//! `out = act(gate) * up`, element by element.
//!
//! Bindings: gate; up; out; f32, all of one shape.

pub use super::activate::{Params, variant};
use super::{activate, part};
use crate::activation::Activation;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct Gate;

impl Kernel for Gate {
    type Params = Params;
    const NAME: &'static str = "gate";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/gate.wgsl");
    const PTX: Option<&'static str> = super::ptx!("gate");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::elementwise::gate);

    fn variants() -> Vec<Variant> {
        Activation::ALL.map(variant).into()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil(activate::WG as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [gate, up, mut out] = bindings.take();
        let activation = part::activation(variant);
        for ((out, gate), up) in out.f32_mut()[..p.count as usize].iter_mut().zip(gate.f32()).zip(up.f32()) {
            *out = activation.apply(*gate) * up;
        }
    }
}
