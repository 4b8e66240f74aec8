//! The gradient of a norm's weight: `d_weight[col] = sum over rows of d_y * (x - mean) * r`.
//!
//! Bindings: x `[rows, cols]`; d_y `[rows, cols]`; stats `[rows, 2]`, each row's mean and r; d_weight `[cols]`; all f32.

use super::activate::WG;
pub use super::add::variant;
pub use super::add_bias::Params;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct NormWeightBackward;

impl Kernel for NormWeightBackward {
    type Params = Params;
    const NAME: &'static str = "norm_weight_backward";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/norm_weight_backward.wgsl");
    const PTX: Option<&'static str> = super::ptx!("norm_weight_backward");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::norm_backward::weight);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.cols as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, d_y, stats, mut d_weight] = bindings.take();
        let cols = p.cols as usize;
        for col in 0..cols {
            let term = |row: usize| {
                let [mean, r] = [stats.f32()[2 * row], stats.f32()[2 * row + 1]];
                d_y.f32()[row * cols + col] * (x.f32()[row * cols + col] - mean) * r
            };
            d_weight.f32_mut()[col] = (0..p.rows as usize).map(term).sum();
        }
    }
}
