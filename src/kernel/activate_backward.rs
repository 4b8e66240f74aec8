//! `d_x = act'(x) * d_y`, element by element.
//!
//! Bindings: x; d_y; d_x; f32, all of one shape.

pub use super::activate::Params;
use super::{activate, part};
use crate::activation::Activation;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct ActivateBackward;

/// The variant for an activation function.
pub fn variant(activation: Activation) -> Variant {
    Variant::new().part(part::slope(activation)).constant("WG", activate::WG)
}

impl Kernel for ActivateBackward {
    type Params = Params;
    const NAME: &'static str = "activate_backward";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/activate_backward.wgsl");
    const PTX: Option<&'static str> = super::ptx!("activate_backward");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::elementwise_backward::activate);

    fn variants() -> Vec<Variant> {
        Activation::ALL.map(variant).into()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil(activate::WG as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [x, d_y, mut d_x] = bindings.take();
        let activation = part::activation(variant);
        for ((d_x, x), d_y) in d_x.f32_mut()[..p.count as usize].iter_mut().zip(x.f32()).zip(d_y.f32()) {
            *d_x = activation.slope(*x) * d_y;
        }
    }
}
