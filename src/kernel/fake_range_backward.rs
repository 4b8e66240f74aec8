//! Gradients of the factors of [`fake_range`](super::fake_range), straight through the rounding of scale and zero point.
//! With S and Z the two sums of [`fake_quant_backward`](super::fake_quant_backward), `n = 2^bits - 1`,
//! `m = 2^(bits-1)`, and low and high the bounds, which in an asymmetric scheme include 0:
//!
//! * symmetric: `scale = -extreme / m`, so the factor of the extreme gets `-S / m` times its bound, the other one 0;
//! * asymmetric: `scale = (high' - low') / n` and `zero = -low' / scale` with the bounds times their factors, so
//!   `D = S + Z * low' / scale^2`, the factor of high gets `D / n * high`, that of low `(-D / n - Z / scale) * low`.
//!
//! What goes through a scale is 0 where the scale sits on its smallest value.
//!
//! Bindings: bounds `[groups, 2]`; factors `[groups, 2]`; scales; sums `[groups, 2]`; `d_factors` `[groups, 2]`; f32.

pub use super::fake_range::Params;
use super::fake_range::WG;
use crate::dispatch::{Access, Bindings, Kernel, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::RangeRule;

/// The kernel.
#[derive(Debug)]
pub struct FakeRangeBackward;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for FakeRangeBackward {
    type Params = Params;
    const NAME: &'static str = "fake_range_backward";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/fake_range_backward.wgsl");
    const PTX: Option<&'static str> = super::ptx!("fake_range_backward");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.groups as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [bounds, factors, scales, sums, mut d_factors] = bindings.take();
        let smallest = RangeRule::smallest_scale(Dtype::ALL[p.scale_type as usize]);
        for g in 0..p.groups as usize {
            let pair = |values: &[f32]| [values[2 * g], values[2 * g + 1]];
            let [mut low, mut high] = pair(bounds.f32());
            let [low_factor, high_factor] = pair(factors.f32());
            let [d_scale, d_zero] = pair(sums.f32());
            let scale = scales.f32()[g];
            let through = |d: f32| if scale.abs() <= smallest { 0.0 } else { d };
            let [d_low, d_high] = if p.symmetric == 1 {
                let d_extreme = through(-d_scale / (1u32 << (p.bits - 1)) as f32);
                if -(low * low_factor) > high * high_factor { [d_extreme, 0.0] } else { [0.0, d_extreme] }
            } else {
                (low, high) = (low.min(0.0), high.max(0.0));
                let d_scale = d_scale + d_zero * (low * low_factor / scale) / scale;
                let step = through(d_scale / ((1u32 << p.bits) - 1) as f32);
                [-step - d_zero / scale, step]
            };
            d_factors.f32_mut()[2 * g..][..2].copy_from_slice(&[d_low * low, d_high * high]);
        }
    }
}
