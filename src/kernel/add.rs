//! `out = a + b`, element by element.
//!
//! Bindings: a; b; out; f32, all of one shape.

pub use super::activate::Params;
use super::activate::WG;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct Add;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for Add {
    type Params = Params;
    const NAME: &'static str = "add";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/add.wgsl");
    const PTX: Option<&'static str> = super::ptx!("add");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::elementwise::add);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [a, b, mut out] = bindings.take();
        for ((out, a), b) in out.f32_mut()[..p.count as usize].iter_mut().zip(a.f32()).zip(b.f32()) {
            *out = a + b;
        }
    }
}
