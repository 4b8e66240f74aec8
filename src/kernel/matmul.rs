//! `y = x W^T` for many rows of x and a dense weight; parameters, bindings and twin in [`product`].
//!
//! A workgroup computes a tile of the result, see part `tile_matmul`.

use super::part::{self, HALF, InputType, TILE_MATMUL};
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

/// Workgroups for a result of this shape.
pub(super) fn tiles(batch: u32, rows: u32) -> [u32; 3] {
    linear_grid(batch.div_ceil(TILE) as usize * rows.div_ceil(TILE) as usize)
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
        Dtype::ALL.into_iter().flat_map(both).collect()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        tiles(p.batch, p.rows)
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
