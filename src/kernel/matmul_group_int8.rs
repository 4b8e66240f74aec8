//! `y = x W^T + bias` for many rows of int8 activations and a packed weight; parameters, bindings and twin in [`product_int8`].
//!
//! A workgroup computes a tile of the result by integer dot products of four codes each; codes of the weight are spread
//! to one a byte on their way into the tile.

use super::matmul::tiles;
use super::part::{self, HALF, QUADS};
use super::product_int8;
pub use super::product_int8::Int8Params as Params;
use super::tensor_core;
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Variant};
use crate::dtype::Dtype;
use crate::scheme::Bits;

/// The kernel.
#[derive(Debug)]
pub struct MatmulGroupInt8;

/// The variant for a packed weight.
pub fn variant(bits: Bits, symmetric: bool, scale: Dtype) -> Variant {
    Variant::new()
        .part(&QUADS)
        .part(part::zero(symmetric))
        .part(part::scale(scale))
        .part(&HALF)
        .constant("BITS", u32::from(bits.get()))
}

impl Kernel for MatmulGroupInt8 {
    type Params = Params;
    const NAME: &'static str = "matmul_group_int8";
    const ACCESS: &'static [Access] = product_int8::ACCESS;
    const WGSL: &'static str = include_str!("../../shaders/matmul_group_int8.wgsl");
    const PTX: Option<&'static str> = super::ptx!("matmul_group_int8");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::product_int8::run);

    fn variants() -> Vec<Variant> {
        let schemes = Bits::ALL.into_iter().flat_map(|b| [(b, true), (b, false)]);
        schemes.flat_map(|(bits, symmetric)| Dtype::ALL.map(|scale| variant(bits, symmetric, scale))).collect()
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        tiles(p.batch, p.rows, variant)
    }

    fn cuda(p: &Params, variant: &Variant) -> Option<CudaLaunch> {
        tensor_core::matmul_int8(p, variant)
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        product_int8::group(p, variant, bindings);
    }
}
