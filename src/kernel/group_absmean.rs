//! `scale = sum(|w|) / count + eps` of each group of a row: the scale of ternary weights. The mean of a whole tensor is that
//! of the means of its rows.
//!
//! Bindings: weight `[rows, cols]`; scales, one a group; f32. A group with a value that is not finite gets a scale that is
//! not finite either.

use bytemuck::{Pod, Zeroable};

use super::part::Reduce;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct GroupAbsmean;

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
    /// Added to the mean.
    pub eps: f32,
}

const WG: u32 = 64;

/// The variant that reduces in this way.
pub fn variant(reduce: Reduce) -> Variant {
    Variant::new().part(reduce.part()).constant("WG", WG)
}

impl Kernel for GroupAbsmean {
    type Params = Params;
    const NAME: &'static str = "group_absmean";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/group_absmean.wgsl");
    const PTX: Option<&'static str> = super::ptx!("group_absmean");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::group_absmean::run);

    fn variants() -> Vec<Variant> {
        Reduce::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize * p.groups_per_row as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [w, mut scales] = bindings.take();
        for row in 0..p.rows as usize {
            let values = &w.f32()[row * p.cols as usize..][..p.cols as usize];
            for (k, group) in values.chunks(p.group as usize).enumerate() {
                let sum: f32 = group.iter().map(|w| w.abs()).sum();
                scales.f32_mut()[row * p.groups_per_row as usize + k] = sum / group.len() as f32 + p.eps;
            }
        }
    }
}
