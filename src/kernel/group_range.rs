//! Scale and zero point of each group of a weight.
//!
//! Bindings: weight `[rows, cols]`; scales, f32, one a group, already rounded to their storage type;
//! zero points, one word a group. A group with a value that is not finite gets a NaN scale.

use bytemuck::{Pod, Zeroable};

use super::part::{self, EXACT, HALF};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::{Bits, RangeRule, Scheme, Span, Zero};

/// The kernel.
#[derive(Debug)]
pub struct GroupRange;

/// A weight and how its groups become scales. One group for the whole tensor is one row to this kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Output features.
    pub rows: u32,
    /// Input features.
    pub cols: u32,
    /// Columns of a group.
    pub group: u32,
    /// Groups of a row.
    pub groups_per_row: u32,
    /// Bits of a code.
    pub bits: u32,
    /// 1 if no zero points are stored.
    pub symmetric: u32,
    /// [`RangeRule::tag`].
    pub rule: u32,
    /// 0 f32, 1 f16, 2 bf16.
    pub scale_type: u32,
}

/// Invocations that share a group.
#[derive(Clone, Copy, Debug)]
pub enum Lanes {
    /// 16: groups of up to a few hundred columns.
    Few,
    /// A whole workgroup: whole rows.
    All,
}

impl Lanes {
    /// Both numbers.
    pub const ALL: [Self; 2] = [Self::Few, Self::All];

    /// The number that suits groups of this size.
    pub const fn suited(group: usize) -> Self {
        if group > 512 { Self::All } else { Self::Few }
    }

    /// The number, in a workgroup of this size.
    pub(super) const fn of(self, workgroup: u32) -> u32 {
        match self {
            Self::Few => 16,
            Self::All => workgroup,
        }
    }
}

const WG: u32 = 64;

/// The variant for a weight of this storage type.
pub fn variant(weight: Dtype, lanes: Lanes) -> Variant {
    let lanes = lanes.of(WG);
    Variant::new().part(part::weight(weight)).part(&EXACT).part(&HALF).constant("WG", WG).constant("LANES", lanes)
}

impl Kernel for GroupRange {
    type Params = Params;
    const NAME: &'static str = "group_range";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/group_range.wgsl");
    const PTX: Option<&'static str> = super::ptx!("group_range");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::group_range::run);

    fn variants() -> Vec<Variant> {
        Dtype::ALL.into_iter().flat_map(|d| Lanes::ALL.map(|l| variant(d, l))).collect()
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        let groups = p.rows as usize * p.groups_per_row as usize;
        linear_grid(groups.div_ceil((WG / variant.get("LANES")) as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [w, mut scales, mut zeros] = bindings.take();
        let dtype = variant.dtype(Role::Weight);
        let scheme = scheme_of(p);
        let rule = RangeRule::from_tag(p.rule);
        for row in 0..p.rows as usize {
            for k in 0..p.groups_per_row as usize {
                let cols = k * p.group as usize..((k + 1) * p.group as usize).min(p.cols as usize);
                let values = cols.map(|col| dtype.value(w.words(), row * p.cols as usize + col));
                let (mut min, mut max, mut finite) = (f32::MAX, f32::MIN, true);
                for value in values {
                    finite &= value.is_finite();
                    (min, max) = (min.min(value), max.max(value));
                }
                let (scale, zero) = rule.scale_and_zero(if finite { min } else { f32::NAN }, max, scheme);
                let g = row * p.groups_per_row as usize + k;
                scales.f32_mut()[g] = scale;
                zeros.words_mut()[g] = u32::from(zero);
            }
        }
    }
}

/// The scheme as far as scales depend on it.
pub(super) fn scheme_of(p: &Params) -> Scheme {
    let bits = Bits::ALL.into_iter().find(|b| u32::from(b.get()) == p.bits).expect("params are made from a Scheme");
    let zero = if p.symmetric == 1 { Zero::Symmetric } else { Zero::Stored };
    Scheme::new(bits, Span::Tensor, zero).with_scale_type(Dtype::ALL[p.scale_type as usize])
}
