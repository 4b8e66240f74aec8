//! What outliers add to a product with a weight that is kept in f16: `y[token, row] += sum(x[token, col] * w[row, col])` over
//! the flagged columns, in f32 and in their order.
//!
//! Bindings: x, f32, `[batch, cols]`; flags, u32, one a column; w, `[rows, cols]` in its storage type; y, f32, rows of
//! `out_stride` elements of which `rows` from `out_offset` on are added to.

use bytemuck::{Pod, Zeroable};

use super::part::{self, HALF};
use crate::dispatch::{Access, Bindings, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;

/// The kernel.
#[derive(Debug)]
pub struct OutlierKept;

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
    /// The first element of a row of y.
    pub out_offset: u32,
    /// Elements of a row of y.
    pub out_stride: u32,
}

/// What the weight is kept in.
pub const KEPT: Dtype = Dtype::F16;
const WG: u32 = 64;

/// The only variant.
pub fn variant() -> Variant {
    Variant::new().part(part::weight(KEPT)).part(&HALF).constant("WG", WG)
}

impl Kernel for OutlierKept {
    type Params = Params;
    const NAME: &'static str = "outlier_kept";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/outlier_kept.wgsl");
    const PTX: Option<&'static str> = super::ptx!("outlier_kept");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.batch as usize * p.rows as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [x, flags, w, mut y] = bindings.take();
        let (dtype, cols) = (variant.dtype(Role::Weight), p.cols as usize);
        let flagged: Vec<usize> = (0..cols).filter(|col| flags.words()[*col] != 0).collect();
        for row in 0..p.rows as usize {
            let weights: Vec<f32> = flagged.iter().map(|col| dtype.value(w.words(), row * cols + col)).collect();
            for token in 0..p.batch as usize {
                let x = &x.f32()[token * cols..][..cols];
                let sum: f32 = flagged.iter().zip(&weights).map(|(col, weight)| x[*col] * weight).sum();
                y.f32_mut()[token * p.out_stride as usize + p.out_offset as usize + row] += sum;
            }
        }
    }
}
