//! What the kernels of `y = x W^T` with int8 activations and a packed weight share: parameters and twin.
//!
//! Over each block of activations the product of codes is an integer, `sum((code - zero) * x_code)`, the same on every
//! device; it is computed as `sum(code * x_code) - zero * sum(x_code)`, of which integers lose nothing. Times both scales
//! it is added in f32, from the first block to the last, then the bias. Where all columns are one block and one group, the result is the
//! integer times the product of both scales; while `127 (2^bits - 1) cols` is below 2^24 it is the same on every device, bit
//! for bit, and so is its sum with a bias: no kernel rounds product and sum at once.

use bytemuck::{Pod, Zeroable};

use super::activation_quantize;
use super::code::{code_at, zero_at};
use super::part::ZERO_MIDDLE;
use super::product::bias_of;
use crate::dispatch::{Access, Bindings, Role, Variant, View};

/// The largest block: 255 steps times 128, this often, fit an i32.
pub const MAX_BLOCK: usize = i32::MAX as usize / (255 * 128);

/// A packed weight and quantized activations. Bindings: codes, scales and sums of the activations as
/// [`activation_quantize`] leaves them; codes, scales and zero points of the weight as in
/// [`GroupParams`](super::product::GroupParams); bias, f32 (anything where there is none); out, where `y[b, row]` goes to
/// `out[out_offset + b * out_stride + row]`. The bias is as long as a row of the result: `bias[out_offset + row]` is added.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Int8Params {
    /// Rows of x.
    pub batch: u32,
    /// Output features of this weight or part of it.
    pub rows: u32,
    /// Input features.
    pub cols: u32,
    /// Columns of a group of the weight: at least 16, or all of them.
    pub group: u32,
    /// Groups of a row, 0 if one group spans the tensor.
    pub groups_per_row: u32,
    /// Words of a packed row of the weight.
    pub words_per_row: u32,
    /// Columns of a block of activations, at most [`MAX_BLOCK`]: a divisor of `group`, or any number if a row is one group.
    pub block: u32,
    /// First element written.
    pub out_offset: u32,
    /// Elements from one row of the result to the next.
    pub out_stride: u32,
    /// 1 if the bias is added, else 0.
    pub bias: u32,
}

impl Int8Params {
    /// The activations' shape.
    pub(super) fn activations(&self) -> activation_quantize::Params {
        activation_quantize::Params { rows: self.batch, cols: self.cols, block: self.block }
    }

    /// The biases of these rows of the weight.
    pub(super) fn bias_of<'a>(&self, bias: &'a View<'_>) -> Option<&'a [f32]> {
        bias_of(self.bias, self.out_offset, self.rows, bias)
    }
}

pub(super) const ACCESS: &[Access] =
    &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];

/// The twin of `matvec_group_int8` and `matmul_group_int8`.
pub(super) fn group(p: &Int8Params, variant: &Variant, bindings: Bindings<'_>) {
    let [x, x_scales, x_sums, codes, scales, zeros, bias, mut out] = bindings.take();
    let bias = p.bias_of(&bias);
    let scale_type = variant.dtype(Role::Scale);
    let symmetric = variant.of(Role::Zero).is_some_and(|z| z.name == ZERO_MIDDLE.name);
    let (bits, cols, size) = (variant.get("BITS"), p.cols as usize, p.block as usize);
    let shape = p.activations();
    for row in 0..p.rows as usize {
        for b in 0..p.batch as usize {
            let mut sum = 0.0f32;
            for block in 0..shape.blocks() {
                let i = b * shape.blocks() + block;
                let x = &x.words()[i * shape.block_words()..];
                let mut dot = 0;
                for (k, col) in (block * size..cols.min((block + 1) * size)).enumerate() {
                    let code = code_at(codes.words(), row * p.words_per_row as usize, col, bits) as i32;
                    dot += code * i32::from(x[k / 4].to_le_bytes()[k % 4] as i8);
                }
                let group = row * p.groups_per_row as usize + block * size / p.group as usize;
                dot -= zero_at(zeros.words(), group, symmetric, bits) as i32 * x_sums.words()[i] as i32;
                sum += dot as f32 * (scale_type.value(scales.words(), group) * x_scales.f32()[i]);
            }
            if let Some(bias) = bias {
                sum += bias[row];
            }
            out.f32_mut()[p.out_offset as usize + b * p.out_stride as usize + row] = sum;
        }
    }
}
