//! `y = x W^T + bias` for many rows of x and a packed weight; parameters, bindings and twin in [`product`].
//!
//! A workgroup computes a tile of the result, see part `tile_matmul`; codes become weights on their way into the tile. For
//! cooperative matrices, see part `tile_matrix`, they become the integers `code - zero`; scales are applied to sums.
//! Activations in f16 exist for scales in f16 only.

use super::hopper;
use super::matmul::{matrix_input, tiles};
use super::part::{self, HALF, InputType, MATRIX_SIDES, TILE_MATMUL, TILE_MATRIX};
use super::product;
pub use super::product::GroupParams as Params;
use super::tensor_core;
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Variant};
use crate::dtype::Dtype;
use crate::scheme::Bits;

/// The kernel.
#[derive(Debug)]
pub struct MatmulGroup;

/// The variant for a packed weight and activations of this type.
pub fn variant(bits: Bits, symmetric: bool, scale: Dtype, x: InputType) -> Variant {
    Variant::new()
        .part(x.part())
        .part(part::codes(bits.get()))
        .part(part::zero(symmetric))
        .part(part::scale(scale))
        .part(&HALF)
        .part(&TILE_MATMUL)
        .constant("BITS", u32::from(bits.get()))
}

/// The variant by cooperative matrices of this side: activations in f32, or else in f16.
pub fn matrix_variant(bits: Bits, symmetric: bool, scale: Dtype, x: Dtype, side: u32) -> Variant {
    Variant::new()
        .part(matrix_input(x).part())
        .part(part::codes(bits.get()))
        .part(part::zero(symmetric))
        .part(part::scale(scale))
        .part(&HALF)
        .part(&TILE_MATRIX)
        .part(part::matrix(side))
        .constant("BITS", u32::from(bits.get()))
}

impl Kernel for MatmulGroup {
    type Params = Params;
    const NAME: &'static str = "matmul_group";
    const ACCESS: &'static [Access] = product::GROUP_ACCESS;
    const WGSL: &'static str = include_str!("../../shaders/matmul_group.wgsl");
    const PTX: Option<&'static str> = super::ptx!("matmul_group");
    const PTX_HOPPER: Option<&'static str> = super::ptx!("matmul_group_hopper");
    const FAST: Option<CpuRun<Self::Params>> = Some(super::fast::matmul_group::run);

    fn variants() -> Vec<Variant> {
        let mut all = Vec::new();
        for (bits, symmetric) in Bits::ALL.into_iter().flat_map(|b| [(b, true), (b, false)]) {
            all.extend(Dtype::ALL.map(|s| variant(bits, symmetric, s, InputType::F32)));
            all.push(variant(bits, symmetric, Dtype::F16, InputType::F16));
            for side in MATRIX_SIDES {
                all.extend(Dtype::ALL.map(|s| matrix_variant(bits, symmetric, s, Dtype::F32, side)));
                all.push(matrix_variant(bits, symmetric, Dtype::F16, Dtype::F16, side));
            }
        }
        all
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        tiles(p.batch, p.rows, variant)
    }

    fn cuda(p: &Params, variant: &Variant) -> Option<CudaLaunch> {
        tensor_core::matmul_group(p, variant)
    }

    fn cuda_hopper(p: &Params, variant: &Variant) -> Option<CudaLaunch> {
        hopper::matmul_group(p, variant)
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        product::group(p, variant, bindings);
    }
}
