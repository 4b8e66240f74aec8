//! Gradients of the ranges of [`free_range`](super::free_range), straight through its roundings, from the two sums of
//! [`fake_quant_backward`](super::fake_quant_backward): that of the scale times the scale at the start for the factor, 0
//! where the scale sits on its smallest value; that of the zero point for the zero point, 0 in a symmetric scheme.
//!
//! Bindings: start; scales; sums `[groups, 2]`; `d_ranges` `[groups, 2]`; f32.

pub use super::fake_range::Params;
use super::fake_range::WG;
use crate::dispatch::{Access, Bindings, Kernel, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::RangeRule;

/// The kernel.
#[derive(Debug)]
pub struct FreeRangeBackward;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for FreeRangeBackward {
    type Params = Params;
    const NAME: &'static str = "free_range_backward";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/free_range_backward.wgsl");
    const PTX: Option<&'static str> = super::ptx!("free_range_backward");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.groups as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [start, scales, sums, mut d_ranges] = bindings.take();
        let smallest = RangeRule::smallest_scale(Dtype::ALL[p.scale_type as usize]);
        for g in 0..p.groups as usize {
            let [d_scale, d_zero] = [sums.f32()[2 * g], sums.f32()[2 * g + 1]];
            let through = if scales.f32()[g].abs() <= smallest { 0.0 } else { d_scale * start.f32()[g] };
            let d_zero = if p.symmetric == 1 { 0.0 } else { d_zero };
            d_ranges.f32_mut()[2 * g..][..2].copy_from_slice(&[through, d_zero]);
        }
    }
}
