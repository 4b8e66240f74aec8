//! What outliers add to a product with 8-bit codes: `y[token, row] += sum(x[token, col] * (code - zero) * scale)` over the
//! flagged columns, in f32 and in their order.
//!
//! Bindings: x, f32, `[batch, cols]`; flags, u32, one a column; codes, [`Packing::Rows`](crate::pack::Packing::Rows); scales in
//! their storage type; zero points, one a byte (the scales again where the scheme stores none); y, f32, rows of `out_stride`
//! elements of which `rows` from `out_offset` on are added to.

use bytemuck::{Pod, Zeroable};

use super::code::{code_at, zero_at};
use super::part::{self, HALF, ZERO_MIDDLE};
use crate::dispatch::{Access, Bindings, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;

/// The kernel.
#[derive(Debug)]
pub struct OutlierProduct;

/// The product.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows of x.
    pub batch: u32,
    /// Rows of the weight.
    pub rows: u32,
    /// Columns of both.
    pub cols: u32,
    /// Columns of a group.
    pub group: u32,
    /// Groups of a row, 0 if one group spans the tensor.
    pub groups_per_row: u32,
    /// Words of a packed row.
    pub words_per_row: u32,
    /// The first element of a row of y.
    pub out_offset: u32,
    /// Elements of a row of y.
    pub out_stride: u32,
}

/// Width of the codes.
pub const BITS: u8 = 8;
const WG: u32 = 64;

/// The variant for a packed weight.
pub fn variant(symmetric: bool, scale: Dtype) -> Variant {
    Variant::new()
        .part(part::codes(BITS))
        .part(part::zero(symmetric))
        .part(part::scale(scale))
        .part(&HALF)
        .constant("BITS", BITS.into())
        .constant("WG", WG)
}

impl Kernel for OutlierProduct {
    type Params = Params;
    const NAME: &'static str = "outlier_product";
    const ACCESS: &'static [Access] =
        &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/outlier_product.wgsl");
    const PTX: Option<&'static str> = super::ptx!("outlier_product");

    fn variants() -> Vec<Variant> {
        Dtype::ALL.into_iter().flat_map(|scale| [true, false].map(|symmetric| variant(symmetric, scale))).collect()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.batch as usize * p.rows as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [x, flags, codes, scales, zeros, mut y] = bindings.take();
        let (scale_type, cols) = (variant.dtype(Role::Scale), p.cols as usize);
        let symmetric = variant.of(Role::Zero).is_some_and(|z| z.name == ZERO_MIDDLE.name);
        let flagged: Vec<usize> = (0..cols).filter(|col| flags.words()[*col] != 0).collect();
        let mut weights = vec![0.0; flagged.len()];
        for row in 0..p.rows as usize {
            for (weight, col) in weights.iter_mut().zip(&flagged) {
                let group = row * p.groups_per_row as usize + col / p.group as usize;
                let code = code_at(codes.words(), row * p.words_per_row as usize, *col, BITS.into()) as f32;
                let zero = zero_at(zeros.words(), group, symmetric, BITS.into());
                *weight = (code - zero) * scale_type.value(scales.words(), group);
            }
            for token in 0..p.batch as usize {
                let x = &x.f32()[token * cols..][..cols];
                let sum: f32 = flagged.iter().zip(&weights).map(|(col, weight)| x[*col] * weight).sum();
                y.f32_mut()[token * p.out_stride as usize + p.out_offset as usize + row] += sum;
            }
        }
    }
}
