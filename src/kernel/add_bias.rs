//! `x[row, col] += bias[col]`, in place.
//!
//! Bindings: x `[rows, cols]`; bias `[cols]`; f32.

use bytemuck::{Pod, Zeroable};

use super::activate::WG;
pub use super::add::variant;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct AddBias;

/// The matrix.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub rows: u32,
    /// Elements of a row.
    pub cols: u32,
}

impl Kernel for AddBias {
    type Params = Params;
    const NAME: &'static str = "add_bias";
    const ACCESS: &'static [Access] = &[Access::ReadWrite, Access::Read];
    const WGSL: &'static str = include_str!("../../shaders/add_bias.wgsl");
    const PTX: Option<&'static str> = super::ptx!("add_bias");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::elementwise::add_bias);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.rows as usize * p.cols as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [mut x, bias] = bindings.take();
        let count = p.rows as usize * p.cols as usize;
        for row in x.f32_mut()[..count].chunks_exact_mut(p.cols as usize) {
            for (x, bias) in row.iter_mut().zip(bias.f32()) {
                *x += bias;
            }
        }
    }
}
