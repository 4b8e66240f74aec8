//! Scale and zero point of groups whose bounds are multiplied by trained factors, by
//! [`RangeRule::FullRange`]: with factors of 1 they are those of
//! [`group_range`](super::group_range), bit for bit.
//!
//! Bindings: bounds `[groups, 2]` of [`group_bounds`](super::group_bounds); factors `[groups, 2]`, f32; scales, f32,
//! rounded to their storage type; zero points, one word a group. Bounds of NaN give a NaN scale.

use bytemuck::{Pod, Zeroable};

use super::part::EXACT;
use crate::dispatch::{Access, Bindings, Kernel, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::{Bits, RangeRule, Scheme, Span, Zero};

/// The kernel.
#[derive(Debug)]
pub struct FakeRange;

/// Groups and what their scales follow from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of groups.
    pub groups: u32,
    /// Bits of a code.
    pub bits: u32,
    /// 1 if no zero points are stored.
    pub symmetric: u32,
    /// 0 f32, 1 f16, 2 bf16.
    pub scale_type: u32,
}

pub(super) const WG: u32 = 64;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().part(&EXACT).constant("WG", WG)
}

impl Kernel for FakeRange {
    type Params = Params;
    const NAME: &'static str = "fake_range";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/fake_range.wgsl");
    const PTX: Option<&'static str> = super::ptx!("fake_range");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.groups as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [bounds, factors, mut scales, mut zeros] = bindings.take();
        let scheme = scheme_of(p);
        for g in 0..p.groups as usize {
            let [low, high] = [0, 1].map(|end| bounds.f32()[2 * g + end] * factors.f32()[2 * g + end]);
            let (scale, zero) = RangeRule::FullRange.scale_and_zero(low, high, scheme);
            scales.f32_mut()[g] = scale;
            zeros.words_mut()[g] = u32::from(zero);
        }
    }
}

/// The scheme as far as scales depend on it.
fn scheme_of(p: &Params) -> Scheme {
    let bits = Bits::ALL.into_iter().find(|b| u32::from(b.get()) == p.bits).expect("params are made from a Scheme");
    let zero = if p.symmetric == 1 { Zero::Symmetric } else { Zero::Stored };
    Scheme::new(bits, Span::Channel, zero).with_scale_type(Dtype::ALL[p.scale_type as usize])
}
