//! `y = x W^T + bias` for few rows of int8 activations and a packed weight; parameters, bindings and twin in [`product_int8`].
//!
//! A workgroup takes a few rows of the weight over all columns, for every row of x; an invocation takes 16 columns at a
//! time. Reductions by subgroups exist for scales in f16 only.

use super::matvec::{MAX_BATCH, batch_and_rows};
use super::part::{self, HALF, QUADS, Reduce};
use super::product_int8;
pub use super::product_int8::Int8Params as Params;
use super::tensor_core;
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::Bits;

/// The kernel.
#[derive(Debug)]
pub struct MatvecGroupInt8;

const WG: u32 = 64;

/// The variant for a packed weight, for one row of x or for up to 8.
pub fn variant(bits: Bits, symmetric: bool, scale: Dtype, reduce: Reduce, batch: usize) -> Variant {
    let (batch, rows) = batch_and_rows(batch);
    Variant::new()
        .part(&QUADS)
        .part(part::zero(symmetric))
        .part(part::scale(scale))
        .part(&HALF)
        .part(reduce.part())
        .constant("BITS", u32::from(bits.get()))
        .constant("BATCH", batch)
        .constant("ROWS", rows)
        .constant("WG", WG)
}

impl Kernel for MatvecGroupInt8 {
    type Params = Params;
    const NAME: &'static str = "matvec_group_int8";
    const ACCESS: &'static [Access] = product_int8::ACCESS;
    const WGSL: &'static str = include_str!("../../shaders/matvec_group_int8.wgsl");
    const PTX: Option<&'static str> = super::ptx!("matvec_group_int8");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::product_int8::run);

    fn variants() -> Vec<Variant> {
        let mut all = Vec::new();
        for (bits, symmetric) in Bits::ALL.into_iter().flat_map(|b| [(b, true), (b, false)]) {
            for batch in [1, MAX_BATCH] {
                all.extend(Dtype::ALL.map(|s| variant(bits, symmetric, s, Reduce::Shared, batch)));
                all.push(variant(bits, symmetric, Dtype::F16, Reduce::Subgroup, batch));
            }
        }
        all
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        linear_grid(p.rows.div_ceil(variant.get("ROWS")) as usize)
    }

    fn cuda(p: &Params, variant: &Variant) -> Option<CudaLaunch> {
        tensor_core::matvec_int8(p, variant)
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        product_int8::group(p, variant, bindings);
    }
}
