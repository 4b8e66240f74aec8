//! `out[row, col] = x[row, col] * scale[col] + shift[col]`: a batch norm whose statistics are known.
//!
//! Bindings: x `[rows, cols]`; scale `[cols]`; shift `[cols]`; out like x; f32.

use super::activate::WG;
pub use super::add::variant;
pub use super::add_bias::Params;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct ScaleShift;

impl Kernel for ScaleShift {
    type Params = Params;
    const NAME: &'static str = "scale_shift";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/scale_shift.wgsl");
    const PTX: Option<&'static str> = super::ptx!("scale_shift");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::elementwise::scale_shift);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.rows as usize * p.cols as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, scale, shift, mut out] = bindings.take();
        let cols = p.cols as usize;
        for (i, out) in out.f32_mut()[..p.rows as usize * cols].iter_mut().enumerate() {
            *out = x.f32()[i] * scale.f32()[i % cols] + shift.f32()[i % cols];
        }
    }
}
