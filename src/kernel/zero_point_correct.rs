//! `y[token, row] -= zeros[token] * scales[token] * row_sums[row]`, in place: what the zero points of activations put too
//! much into a product of their codes, `sum((code - zero) * scale * w) = sum(code * scale * w) - zero * scale * sum(w)`.
//!
//! Bindings: y, f32, `[tokens, rows]`; scales, f32, and zero points, i32, one a token; sums of the weights of each row, f32.

use bytemuck::{Pod, Zeroable};

use super::activate::WG;
pub use super::add::variant;
use crate::dispatch::{Access, Bindings, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct ZeroPointCorrect;

/// The product.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows of x.
    pub tokens: u32,
    /// Rows of the weight.
    pub rows: u32,
}

impl Kernel for ZeroPointCorrect {
    type Params = Params;
    const NAME: &'static str = "zero_point_correct";
    const ACCESS: &'static [Access] = &[Access::ReadWrite, Access::Read, Access::Read, Access::Read];
    const WGSL: &'static str = include_str!("../../shaders/zero_point_correct.wgsl");
    const PTX: Option<&'static str> = super::ptx!("zero_point_correct");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.tokens as usize * p.rows as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [mut y, scales, zeros, row_sums] = bindings.take();
        for token in 0..p.tokens as usize {
            let away = zeros.words()[token].cast_signed() as f32 * scales.f32()[token];
            let y = &mut y.f32_mut()[token * p.rows as usize..][..p.rows as usize];
            y.iter_mut().zip(row_sums.f32()).for_each(|(y, sum)| *y -= away * sum);
        }
    }
}
