//! `out[col] = sum over rows of x[row, col]`: the gradient of a bias.
//!
//! Bindings: x `[rows, cols]`; out `[cols]`; f32.

use super::activate::WG;
pub use super::add::variant;
pub use super::add_bias::Params;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct ColumnSum;

impl Kernel for ColumnSum {
    type Params = Params;
    const NAME: &'static str = "column_sum";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/column_sum.wgsl");
    const PTX: Option<&'static str> = super::ptx!("column_sum");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::norm_backward::columns);

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
            *out = (0..p.rows as usize).map(|row| x.f32()[row * cols + col]).sum();
        }
    }
}
