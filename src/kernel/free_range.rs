//! Scale and zero point of groups that are trained by themselves: `scale = stored(start * factor)`, where `stored` rounds to
//! the storage type as [`fake_range`](super::fake_range) does, and the nearest zero point that is a code, half to even.
//!
//! Bindings: start, one scale a group; ranges `[groups, 2]`, a factor of the scale and a zero point; scales; f32; zero
//! points, one word a group: the middle code in a symmetric scheme.

pub use super::fake_range::Params;
use super::fake_range::WG;
use super::part::EXACT;
use crate::dispatch::{Access, Bindings, Kernel, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::RangeRule;

/// The kernel.
#[derive(Debug)]
pub struct FreeRange;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().part(&EXACT).constant("WG", WG)
}

impl Kernel for FreeRange {
    type Params = Params;
    const NAME: &'static str = "free_range";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/free_range.wgsl");
    const PTX: Option<&'static str> = super::ptx!("free_range");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.groups as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [start, ranges, mut scales, mut zeros] = bindings.take();
        let (scale_type, most) = (Dtype::ALL[p.scale_type as usize], (1u32 << p.bits) - 1);
        for g in 0..p.groups as usize {
            let [factor, zero] = [ranges.f32()[2 * g], ranges.f32()[2 * g + 1]];
            scales.f32_mut()[g] = RangeRule::stored(start.f32()[g] * factor, scale_type);
            let nearest = zero.round_ties_even().clamp(0.0, most as f32) as u32;
            zeros.words_mut()[g] = if p.symmetric == 1 { most.div_ceil(2) } else { nearest };
        }
    }
}
