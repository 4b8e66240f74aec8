//! `out = x + share * scale * (u - 1/2)`: an even draw over a share of a quantization step. `u` is the number in (0, 1) that
//! seed and position give, the same on every device.
//!
//! Bindings: x `[rows, cols]`; scales, one a group, or one in all where a row has 0 groups; out; f32.

use bytemuck::{Pod, Zeroable};

use super::part::EXACT;
use crate::dispatch::{Access, Bindings, Kernel, Variant, linear_grid};
use crate::scheme::uniform;

/// The kernel.
#[derive(Debug)]
pub struct WeightNoise;

/// A weight, its groups, and the noise.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Elements.
    pub count: u32,
    /// Input features.
    pub cols: u32,
    /// Columns of a group.
    pub group: u32,
    /// Groups of a row.
    pub groups_per_row: u32,
    /// Width of the noise in steps.
    pub share: f32,
    /// What the draws depend on beside the position.
    pub seed: u32,
}

const WG: u32 = 256;

/// The one variant.
pub fn variant() -> Variant {
    Variant::new().part(&EXACT).constant("WG", WG)
}

impl Kernel for WeightNoise {
    type Params = Params;
    const NAME: &'static str = "weight_noise";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/weight_noise.wgsl");
    const PTX: Option<&'static str> = super::ptx!("weight_noise");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, scales, mut out] = bindings.take();
        for i in 0..p.count {
            let group = (i / p.cols) * p.groups_per_row + (i % p.cols) / p.group;
            let draw = uniform(p.seed, i) - 0.5;
            out.f32_mut()[i as usize] = x.f32()[i as usize] + p.share * scales.f32()[group as usize] * draw;
        }
    }
}
