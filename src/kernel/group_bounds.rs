//! Smallest and largest value of each group of a weight.
//!
//! Bindings: weight `[rows, cols]`; bounds `[groups, 2]`, f32, a zero always positive (devices disagree on which zero is
//! the smaller), both NaN where a value of the group is not finite.

use bytemuck::{Pod, Zeroable};

pub use super::group_range::Lanes;
use super::part::{self, HALF};
use crate::dispatch::{Access, Bindings, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;

/// The kernel.
#[derive(Debug)]
pub struct GroupBounds;

/// A weight and its groups.
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
}

const WG: u32 = 64;

/// The variant for a weight of this storage type.
pub fn variant(weight: Dtype, lanes: Lanes) -> Variant {
    let lanes = lanes.of(WG);
    Variant::new().part(part::weight(weight)).part(&HALF).constant("WG", WG).constant("LANES", lanes)
}

impl Kernel for GroupBounds {
    type Params = Params;
    const NAME: &'static str = "group_bounds";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/group_bounds.wgsl");
    const PTX: Option<&'static str> = super::ptx!("group_bounds");

    fn variants() -> Vec<Variant> {
        Dtype::ALL.into_iter().flat_map(|d| Lanes::ALL.map(|l| variant(d, l))).collect()
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        let groups = p.rows as usize * p.groups_per_row as usize;
        linear_grid(groups.div_ceil((WG / variant.get("LANES")) as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [w, mut bounds] = bindings.take();
        let dtype = variant.dtype(Role::Weight);
        let per_row = p.groups_per_row as usize;
        for group in 0..p.rows as usize * per_row {
            let (row, first) = (group / per_row, group % per_row * p.group as usize);
            let cols = first..(first + p.group as usize).min(p.cols as usize);
            let values = cols.map(|col| dtype.value(w.words(), row * p.cols as usize + col));
            let (mut low, mut high, mut finite) = (f32::MAX, f32::MIN, true);
            for value in values {
                finite &= value.is_finite();
                (low, high) = (low.min(value), high.max(value));
            }
            let found = if finite { [low, high].map(|end| if end == 0.0 { 0.0 } else { end }) } else { [f32::NAN; 2] };
            bounds.f32_mut()[2 * group..][..2].copy_from_slice(&found);
        }
    }
}
