//! `d_gate = act'(gate) * up * d_y` and `d_up = act(gate) * d_y`, element by element.
//!
//! Bindings: gate; up; d_y; d_gate; d_up; f32, all of one shape.

pub use super::activate::Params;
use super::{activate, part};
use crate::activation::Activation;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct GateBackward;

/// The variant for an activation function.
pub fn variant(activation: Activation) -> Variant {
    Variant::new().part(part::function(activation)).part(part::slope(activation)).constant("WG", activate::WG)
}

impl Kernel for GateBackward {
    type Params = Params;
    const NAME: &'static str = "gate_backward";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/gate_backward.wgsl");
    const PTX: Option<&'static str> = super::ptx!("gate_backward");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::elementwise_backward::gate);

    fn variants() -> Vec<Variant> {
        Activation::ALL.map(variant).into()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil(activate::WG as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [gate, up, d_y, mut d_gate, mut d_up] = bindings.take();
        let activation = part::activation(variant);
        for i in 0..p.count as usize {
            let (gate, up, d_y) = (gate.f32()[i], up.f32()[i], d_y.f32()[i]);
            d_gate.f32_mut()[i] = activation.slope(gate) * up * d_y;
            d_up.f32_mut()[i] = activation.apply(gate) * d_y;
        }
    }
}
