//! Rows of a table by their index: `out[t, :] = table[ids[t] - first_row, :]` for each id of
//! `first_row .. first_row + rows`; the rows of other ids are left alone, so that the parts of a split table together
//! write every row.
//!
//! Bindings: ids, one a word; table `[rows, cols]`; out `[tokens, cols]`, f32.

use bytemuck::{Pod, Zeroable};

use super::part::{self, HALF};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;

/// The kernel.
#[derive(Debug)]
pub struct Embed;

/// A table, or a part of one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of ids.
    pub tokens: u32,
    /// The id of the first row.
    pub first_row: u32,
    /// Rows of the table or part.
    pub rows: u32,
    /// Features.
    pub cols: u32,
}

const WG: u32 = 64;

/// The variant for a table of this storage type.
pub fn variant(table: Dtype) -> Variant {
    Variant::new().part(part::weight(table)).part(&HALF).constant("WG", WG)
}

impl Kernel for Embed {
    type Params = Params;
    const NAME: &'static str = "embed";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/embed.wgsl");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::embed::run);
    const PTX: Option<&'static str> = super::ptx!("embed");

    fn variants() -> Vec<Variant> {
        Dtype::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.tokens as usize * p.cols as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [ids, table, mut out] = bindings.take();
        let (dtype, cols) = (variant.dtype(Role::Weight), p.cols as usize);
        for (t, id) in ids.words()[..p.tokens as usize].iter().enumerate() {
            let Some(row) = id.checked_sub(p.first_row).filter(|row| *row < p.rows) else { continue };
            for col in 0..cols {
                out.f32_mut()[t * cols + col] = dtype.value(table.words(), row as usize * cols + col);
            }
        }
    }
}
