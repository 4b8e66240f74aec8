//! `out = x * factor` with a factor that is on the device.
//!
//! Bindings: x; factor, its first value counts; out; f32.

use bytemuck::{Pod, Zeroable};

use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct ScaleBy;

/// Number of elements.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Elements.
    pub count: u32,
}

const WG: u32 = 256;

/// The one variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for ScaleBy {
    type Params = Params;
    const NAME: &'static str = "scale_by";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/scale_by.wgsl");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::elementwise::scale_by);
    const PTX: Option<&'static str> = super::ptx!("scale_by");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, factor, mut out] = bindings.take();
        let (x, factor) = (&x.f32()[..p.count as usize], factor.f32()[0]);
        out.f32_mut().iter_mut().zip(x).for_each(|(out, x)| *out = x * factor);
    }
}
