//! `y = x W^T + bias` for few rows of x and a packed weight; parameters, bindings and twin in [`product`].
//!
//! A workgroup takes a few rows of the weight over all columns, for every row of x; an invocation takes 8 columns at a
//! time. Activations in f16 and reductions by subgroups exist for scales in f16 only.

use super::matvec::{MAX_BATCH, batch_and_rows};
use super::part::{self, HALF, InputType, Reduce};
use super::product;
pub use super::product::GroupParams as Params;
use super::tensor_core;
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::Bits;

/// The kernel.
#[derive(Debug)]
pub struct MatvecGroup;

const WG: u32 = 64;

/// The variant for a packed weight and activations of this type, for one row of x or for up to 8.
pub fn variant(bits: Bits, symmetric: bool, scale: Dtype, x: InputType, reduce: Reduce, batch: usize) -> Variant {
    let (batch, rows) = batch_and_rows(batch);
    Variant::new()
        .part(x.part())
        .part(part::codes(bits.get()))
        .part(part::zero(symmetric))
        .part(part::scale(scale))
        .part(&HALF)
        .part(reduce.part())
        .constant("BITS", u32::from(bits.get()))
        .constant("BATCH", batch)
        .constant("ROWS", rows)
        .constant("WG", WG)
}

impl Kernel for MatvecGroup {
    type Params = Params;
    const NAME: &'static str = "matvec_group";
    const ACCESS: &'static [Access] = product::GROUP_ACCESS;
    const WGSL: &'static str = include_str!("../../shaders/matvec_group.wgsl");
    const PTX: Option<&'static str> = super::ptx!("matvec_group");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::matvec_group::run);

    fn variants() -> Vec<Variant> {
        let mut all = Vec::new();
        for (bits, symmetric) in Bits::ALL.into_iter().flat_map(|b| [(b, true), (b, false)]) {
            for batch in [1, MAX_BATCH] {
                all.extend(Dtype::ALL.map(|s| variant(bits, symmetric, s, InputType::F32, Reduce::Shared, batch)));
                all.push(variant(bits, symmetric, Dtype::F16, InputType::F32, Reduce::Subgroup, batch));
                all.push(variant(bits, symmetric, Dtype::F16, InputType::F16, Reduce::Shared, batch));
            }
            all.push(variant(bits, symmetric, Dtype::F16, InputType::F16Native, Reduce::Subgroup, 1));
        }
        all
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        linear_grid(p.rows.div_ceil(variant.get("ROWS")) as usize)
    }

    fn cuda(p: &Params, variant: &Variant) -> Option<CudaLaunch> {
        tensor_core::matvec_group(p, variant)
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        product::group(p, variant, bindings);
    }
}
