//! `y = x W^T` for few rows of x and a dense weight; parameters, bindings and twin in [`product`].
//!
//! A workgroup takes a few rows of the weight over all columns, for every row of x.

use super::part::{self, HALF, InputType, Reduce};
use super::product;
pub use super::product::DenseParams as Params;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};
use crate::dtype::Dtype;

/// The kernel.
#[derive(Debug)]
pub struct Matvec;

/// Most rows of x.
pub const MAX_BATCH: usize = 8;

const WG: u32 = 64;

/// The variant for weights and activations of these types. One row of x has a variant of its own, in which the
/// accumulators serve several rows of the weight instead.
pub fn variant(weight: Dtype, x: InputType, reduce: Reduce, batch: usize) -> Variant {
    let (batch, rows) = batch_and_rows(batch);
    Variant::new()
        .part(x.part())
        .part(part::weight(weight))
        .part(&HALF)
        .part(reduce.part())
        .constant("BATCH", batch)
        .constant("ROWS", rows)
        .constant("WG", WG)
}

/// Rows of x that a variant takes, and rows of the weight that a workgroup of it takes: at most 8 sums in all.
pub(super) fn batch_and_rows(batch: usize) -> (u32, u32) {
    if batch == 1 { (1, 4) } else { (8, 1) }
}

impl Kernel for Matvec {
    type Params = Params;
    const NAME: &'static str = "matvec";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/matvec.wgsl");
    const PTX: Option<&'static str> = super::ptx!("matvec");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::matvec::run);

    fn variants() -> Vec<Variant> {
        let mut all = Vec::new();
        for weight in Dtype::ALL {
            for batch in [1, MAX_BATCH] {
                all.extend(Reduce::ALL.map(|r| variant(weight, InputType::F32, r, batch)));
                all.push(variant(weight, InputType::F16, Reduce::Shared, batch));
            }
            all.push(variant(weight, InputType::F16Native, Reduce::Subgroup, 1));
        }
        all
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        linear_grid(p.rows.div_ceil(variant.get("ROWS")) as usize)
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        product::dense(p, variant, bindings);
    }
}
