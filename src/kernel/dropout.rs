//! `out = x * factor` where an element is kept, else 0. It is kept if the number in (0, 1) that seed and position give is at
//! least `rate`: the same elements on every device, and the same again for the gradient.
//!
//! Bindings: x; out; f32, of any shape.

use bytemuck::{Pod, Zeroable};

use super::part::EXACT;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};
use crate::scheme::uniform;

/// The kernel.
#[derive(Debug)]
pub struct Dropout;

/// What is dropped.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Elements.
    pub count: u32,
    /// What the draws depend on beside the position.
    pub seed: u32,
    /// Share of the elements that become 0.
    pub rate: f32,
    /// What the others are multiplied by.
    pub factor: f32,
}

const WG: u32 = 256;

/// The one variant.
pub fn variant() -> Variant {
    Variant::new().part(&EXACT).constant("WG", WG)
}

impl Kernel for Dropout {
    type Params = Params;
    const NAME: &'static str = "dropout";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/dropout.wgsl");
    const PTX: Option<&'static str> = super::ptx!("dropout");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::dropout::run);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, mut out] = bindings.take();
        for (i, (out, x)) in (0..p.count).zip(out.f32_mut().iter_mut().zip(x.f32())) {
            *out = kept(p, i, *x);
        }
    }
}

/// What becomes of an element.
#[inline(always)]
pub(super) fn kept(p: &Params, position: u32, x: f32) -> f32 {
    if uniform(p.seed, position) >= p.rate { x * p.factor } else { 0.0 }
}
