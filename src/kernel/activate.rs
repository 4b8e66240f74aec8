//! `out = act(x)`, element by element.
//!
//! Bindings: x; out; f32, of any shape.

use bytemuck::{Pod, Zeroable};

use super::part;
use crate::activation::Activation;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct Activate;

/// How much there is; for every kernel that goes element by element.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Elements.
    pub count: u32,
}

pub(super) const WG: u32 = 256;

/// The variant for an activation function.
pub fn variant(activation: Activation) -> Variant {
    Variant::new().part(part::function(activation)).constant("WG", WG)
}

impl Kernel for Activate {
    type Params = Params;
    const NAME: &'static str = "activate";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/activate.wgsl");
    const PTX: Option<&'static str> = super::ptx!("activate");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::elementwise::activate);

    fn variants() -> Vec<Variant> {
        Activation::ALL.map(variant).into()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [x, mut out] = bindings.take();
        let activation = part::activation(variant);
        for (out, x) in out.f32_mut()[..p.count as usize].iter_mut().zip(x.f32()) {
            *out = activation.apply(*x);
        }
    }
}
