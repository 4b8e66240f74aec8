//! What the kernels of `y = x W^T` share: parameters and twins. `x` is `[batch, cols]`, `W` is `[rows, cols]`, and
//! `y[b, row]` goes to `out[out_offset + b * out_stride + row]`, so that a weight split by rows writes its parts of
//! one result; all else in `out` is left alone. The products with a packed weight also add a bias, which is as long as a row
//! of the result: column `out_offset + row` has `bias[out_offset + row]`.
//!
//! Both twins add `weight * x` in f32 from the first column to the last. The weight of a code is
//! `(code - zero) * scale`: the difference is an exact small integer, and with a 16-bit scale the product is exact
//! too. Taking the zero points out of the sum, `scale * (sum(code * x) - zero * sum(x))`, would save a subtraction
//! and lose digits where both sums are large and nearly equal, so no kernel does it.

use bytemuck::{Pod, Zeroable};

use super::code::{code_at, zero_at};
use super::part::ZERO_MIDDLE;
use crate::dispatch::{Access, Bindings, Role, Variant, View};

/// A dense weight. Bindings: x, weight, out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct DenseParams {
    /// Rows of x.
    pub batch: u32,
    /// Output features of this weight or part of it.
    pub rows: u32,
    /// Input features.
    pub cols: u32,
    /// First element written.
    pub out_offset: u32,
    /// Elements from one row of the result to the next.
    pub out_stride: u32,
}

/// A packed weight. Bindings: x; codes, [`Packing::Rows`](crate::pack::Packing::Rows); scales in their storage type;
/// zero points, one a byte (the scales again where the scheme stores none); bias, f32 (anything where there is none); out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct GroupParams {
    /// Rows of x.
    pub batch: u32,
    /// Output features of this weight or part of it.
    pub rows: u32,
    /// Input features.
    pub cols: u32,
    /// Columns of a group: at least 16, or all of them.
    pub group: u32,
    /// Groups of a row, 0 if one group spans the tensor.
    pub groups_per_row: u32,
    /// Words of a packed row.
    pub words_per_row: u32,
    /// First element written.
    pub out_offset: u32,
    /// Elements from one row of the result to the next.
    pub out_stride: u32,
    /// 1 if the bias is added, else 0.
    pub bias: u32,
}

impl GroupParams {
    /// The biases of these rows of the weight.
    pub(super) fn bias_of<'a>(&self, bias: &'a View<'_>) -> Option<&'a [f32]> {
        bias_of(self.bias, self.out_offset, self.rows, bias)
    }
}

/// The biases of some rows of a weight, if there are any.
pub(super) fn bias_of<'a>(given: u32, first: u32, rows: u32, bias: &'a View<'_>) -> Option<&'a [f32]> {
    (given != 0).then(|| &bias.f32()[first as usize..][..rows as usize])
}

pub(super) const GROUP_ACCESS: &[Access] =
    &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];

/// The twin of `matvec` and `matmul`.
pub(super) fn dense(p: &DenseParams, variant: &Variant, bindings: Bindings<'_>) {
    let [x, w, mut out] = bindings.take();
    let (x_type, w_type) = (variant.dtype(Role::Activation), variant.dtype(Role::Weight));
    let cols = p.cols as usize;
    for b in 0..p.batch as usize {
        for row in 0..p.rows as usize {
            let mut sum = 0.0f32;
            for col in 0..cols {
                sum += w_type.value(w.words(), row * cols + col) * x_type.value(x.words(), b * cols + col);
            }
            out.f32_mut()[p.out_offset as usize + b * p.out_stride as usize + row] = sum;
        }
    }
}

/// The twin of `matvec_group` and `matmul_group`.
pub(super) fn group(p: &GroupParams, variant: &Variant, bindings: Bindings<'_>) {
    let [x, codes, scales, zeros, bias, mut out] = bindings.take();
    let bias = p.bias_of(&bias);
    let (x_type, scale_type) = (variant.dtype(Role::Activation), variant.dtype(Role::Scale));
    let symmetric = variant.of(Role::Zero).is_some_and(|z| z.name == ZERO_MIDDLE.name);
    let (bits, cols) = (variant.get("BITS"), p.cols as usize);
    for row in 0..p.rows as usize {
        for b in 0..p.batch as usize {
            let mut sum = 0.0f32;
            for col in 0..cols {
                let group = row * p.groups_per_row as usize + col / p.group as usize;
                let code = code_at(codes.words(), row * p.words_per_row as usize, col, bits) as f32;
                let steps = code - zero_at(zeros.words(), group, symmetric, bits);
                let w = steps * scale_type.value(scales.words(), group);
                sum += w * x_type.value(x.words(), b * cols + col);
            }
            if let Some(bias) = bias {
                sum += bias[row];
            }
            out.f32_mut()[p.out_offset as usize + b * p.out_stride as usize + row] = sum;
        }
    }
}
