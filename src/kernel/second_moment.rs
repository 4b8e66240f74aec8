//! `out[col] = sum over rows of x[row, col]^2`, or that added to what `out` holds: how much each input feature of a layer
//! weighs. It is the diagonal of the Gram matrix, which [`matmul_strided`](super::matmul_strided) computes whole.
//!
//! Bindings: x `[rows, cols]`; out `[cols]`; f32.

use bytemuck::{Pod, Zeroable};

use super::activate::WG;
pub use super::add::variant;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct SecondMoment;

/// A matrix, and whether to add.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Tokens.
    pub rows: u32,
    /// Features.
    pub cols: u32,
    /// 1 to add to what is there, 0 to replace it.
    pub accumulate: u32,
}

impl Kernel for SecondMoment {
    type Params = Params;
    const NAME: &'static str = "second_moment";
    const ACCESS: &'static [Access] = &[Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/second_moment.wgsl");
    const PTX: Option<&'static str> = super::ptx!("second_moment");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::second_moment::run);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.cols as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, mut out] = bindings.take();
        let cols = p.cols as usize;
        for (col, out) in out.f32_mut()[..cols].iter_mut().enumerate() {
            let sum: f32 = (0..p.rows as usize).map(|row| x.f32()[row * cols + col]).map(|x| x * x).sum();
            *out = if p.accumulate == 1 { *out + sum } else { sum };
        }
    }
}
