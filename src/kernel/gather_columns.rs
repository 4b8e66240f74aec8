//! `out[row, col] = x[row, columns[col]]`: features in another order.
//!
//! Bindings: x `[rows, cols]`, f32; columns `[cols]`, u32 below `cols`; out like x.

use super::activate::WG;
pub use super::add::variant;
pub use super::add_bias::Params;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct GatherColumns;

impl Kernel for GatherColumns {
    type Params = Params;
    const NAME: &'static str = "gather_columns";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/gather_columns.wgsl");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::elementwise::gather_columns);
    const PTX: Option<&'static str> = super::ptx!("gather_columns");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.rows as usize * p.cols as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, columns, mut out] = bindings.take();
        let cols = p.cols as usize;
        for (i, out) in out.f32_mut()[..p.rows as usize * cols].iter_mut().enumerate() {
            *out = x.f32()[i / cols * cols + columns.words()[i % cols] as usize];
        }
    }
}
