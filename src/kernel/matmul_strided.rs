//! `out[b, row] = sum over k of x[x_first + b * x_row + k * x_step] * w[row * w_row + k * w_step]`, or that added to what
//! `out` holds: a product whose operands may each be taken by rows or by columns. Gradients of products and Gram matrices are
//! of this form.
//!
//! Bindings: x, f32; w, in its storage type; out, f32 `[batch, rows]`.

use bytemuck::{Pod, Zeroable};

use super::matmul::tiles;
use super::part::{self, HALF, TILE_MATMUL};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Operand, Product, Role, Variant};
use crate::dtype::Dtype;

/// The kernel.
#[derive(Debug)]
pub struct MatmulStrided;

/// Sizes and strides, in elements.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows of the result.
    pub batch: u32,
    /// Columns of the result.
    pub rows: u32,
    /// Terms of each sum.
    pub cols: u32,
    /// Where x begins.
    pub x_first: u32,
    /// From one row of the result to the next in x.
    pub x_row: u32,
    /// From one term to the next in x.
    pub x_step: u32,
    /// From one column of the result to the next in w.
    pub w_row: u32,
    /// From one term to the next in w.
    pub w_step: u32,
    /// 1 to add to what is there, 0 to replace it.
    pub accumulate: u32,
}

/// The variant for w of this type.
pub fn variant(w: Dtype) -> Variant {
    Variant::new().part(part::weight(w)).part(&HALF).part(&TILE_MATMUL)
}

impl Kernel for MatmulStrided {
    type Params = Params;
    const NAME: &'static str = "matmul_strided";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/matmul_strided.wgsl");
    const PTX: Option<&'static str> = super::ptx!("matmul_strided");
    const FAST: Option<CpuRun<Self::Params>> = Some(super::fast::matmul_strided::run);

    fn variants() -> Vec<Variant> {
        Dtype::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        tiles(p.batch, p.rows, variant)
    }

    fn product(p: &Params, variant: &Variant) -> Option<Product> {
        let dtype = variant.dtype(Role::Weight);
        (dtype == Dtype::F32).then_some(Product {
            batch: p.batch,
            rows: p.rows,
            cols: p.cols,
            dtype,
            x: Operand { first: p.x_first, row: p.x_row, step: p.x_step },
            w: Operand { first: 0, row: p.w_row, step: p.w_step },
            out_first: 0,
            out_row: p.rows,
            accumulate: p.accumulate == 1,
        })
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [x, w, mut out] = bindings.take();
        let w_type = variant.dtype(Role::Weight);
        let x = &x.f32()[p.x_first as usize..];
        let [x_row, x_step, w_row, w_step] = [p.x_row, p.x_step, p.w_row, p.w_step].map(|n| n as usize);
        for b in 0..p.batch as usize {
            for row in 0..p.rows as usize {
                let to = b * p.rows as usize + row;
                let mut sum = 0.0f32;
                for k in 0..p.cols as usize {
                    sum += x[b * x_row + k * x_step] * w_type.value(w.words(), row * w_row + k * w_step);
                }
                out.f32_mut()[to] = if p.accumulate == 1 { out.f32_mut()[to] + sum } else { sum };
            }
        }
    }
}
