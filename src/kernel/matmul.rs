//! `y = x W^T` for many rows of x and a dense weight; parameters, bindings and twin in [`product`].
//!
//! A workgroup computes a tile of the result, see part `tile_matmul`, and `tile_matrix` for cooperative matrices: those
//! take weights in f16, because other types do not fit f16.

use super::part::{self, HALF, InputType, MATRIX_SIDES, TILE_MATMUL, TILE_MATRIX};
use super::product;
pub use super::product::DenseParams as Params;
use super::tensor_core;
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Operand, Product, Role, Variant, linear_grid};
use crate::dtype::Dtype;

/// The kernel.
#[derive(Debug)]
pub struct Matmul;

/// Rows of x, and rows of the weight, of a tile: the largest at which both operands' tiles fit 16 KiB of workgroup
/// memory with room to spare and 256 invocations hold 16 sums each.
const TILE: u32 = 64;

/// The variant for weights and activations of these types.
pub fn variant(weight: Dtype, x: InputType) -> Variant {
    Variant::new().part(x.part()).part(part::weight(weight)).part(&HALF).part(&TILE_MATMUL)
}

/// The variant by cooperative matrices of this side for weights in f16: activations in f32, or else in f16.
pub fn matrix_variant(x: Dtype, side: u32) -> Variant {
    let x = matrix_input(x).part();
    Variant::new().part(x).part(part::weight(Dtype::F16)).part(&HALF).part(&TILE_MATRIX).part(part::matrix(side))
}

/// How activations reach cooperative matrices.
pub(super) fn matrix_input(x: Dtype) -> InputType {
    if x == Dtype::F32 { InputType::F32 } else { InputType::F16Native }
}

/// Workgroups for a result of this shape.
pub(super) fn tiles(batch: u32, rows: u32, variant: &Variant) -> [u32; 3] {
    let tile = variant.needs().cooperative_matrix.map_or(TILE, |side| 4 * side);
    linear_grid(batch.div_ceil(tile) as usize * rows.div_ceil(tile) as usize)
}

impl Kernel for Matmul {
    type Params = Params;
    const NAME: &'static str = "matmul";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/matmul.wgsl");
    const PTX: Option<&'static str> = super::ptx!("matmul");
    const FAST: Option<CpuRun<Self::Params>> = Some(super::fast::matmul::run);

    fn variants() -> Vec<Variant> {
        let both = |weight| [InputType::F32, InputType::F16].map(|x| variant(weight, x));
        let matrices = |side| [Dtype::F32, Dtype::F16].map(|x| matrix_variant(x, side));
        Dtype::ALL.into_iter().flat_map(both).chain(MATRIX_SIDES.into_iter().flat_map(matrices)).collect()
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        tiles(p.batch, p.rows, variant)
    }

    fn cuda(p: &Params, variant: &Variant) -> Option<CudaLaunch> {
        tensor_core::matmul(p, variant)
    }

    fn product(p: &Params, variant: &Variant) -> Option<Product> {
        let dtype = variant.dtype(Role::Weight);
        let by_rows = Operand { first: 0, row: p.cols, step: 1 };
        let same = variant.dtype(Role::Activation) == dtype && dtype != Dtype::Bf16;
        same.then_some(Product {
            batch: p.batch,
            rows: p.rows,
            cols: p.cols,
            dtype,
            x: by_rows,
            w: by_rows,
            out_first: p.out_offset,
            out_row: p.out_stride,
            accumulate: false,
        })
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        product::dense(p, variant, bindings);
    }
}
