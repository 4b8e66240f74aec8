//! What gradients are multiplied by so that their norm is at most `most`: `norm = sqrt(sum of sums)`, `factor = most / norm`
//! where that is below 1, else 1.
//!
//! Bindings: sums of squares, `count` of them; out: factor, norm; f32. A norm that is not a number gives the factor 1.

use bytemuck::{Pod, Zeroable};

use super::part::Reduce;
use crate::dispatch::{Access, Bindings, Kernel, Variant};

/// The kernel.
#[derive(Debug)]
pub struct ClipFactor;

/// How many sums there are, and the bound.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Sums.
    pub count: u32,
    /// Largest norm.
    pub most: f32,
}

const WG: u32 = 256;

/// The variant that reduces this way.
pub fn variant(reduce: Reduce) -> Variant {
    Variant::new().part(reduce.part()).constant("WG", WG)
}

impl Kernel for ClipFactor {
    type Params = Params;
    const NAME: &'static str = "clip_factor";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/clip_factor.wgsl");
    const PTX: Option<&'static str> = super::ptx!("clip_factor");

    fn variants() -> Vec<Variant> {
        Reduce::ALL.map(variant).to_vec()
    }

    fn grid(_: &Params, _: &Variant) -> [u32; 3] {
        [1, 1, 1]
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [sums, mut out] = bindings.take();
        let sum: f32 = sums.f32()[..p.count as usize].iter().sum();
        let norm = sum.sqrt();
        out.f32_mut()[0] = if norm > p.most { p.most / norm } else { 1.0 };
        out.f32_mut()[1] = norm;
    }
}
