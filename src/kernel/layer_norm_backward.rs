//! The gradient of [`layer_norm`](super::layer_norm), row by row: `d_x = r * (g - mean(g) - z * mean(g * z))` with `z = (x - mean(x)) * r`, `r = 1 / sqrt(var(x) + eps)` and `g = d_y * weight`,
//! and what the gradient of the weight takes.
//!
//! Bindings: x `[rows, cols]`; weight `[cols]`; d_y `[rows, cols]`; d_x `[rows, cols]`; stats `[rows, 2]`, each row's mean
//! and r; all f32.

pub use super::rms_norm::{Params, variant};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct LayerNormBackward;

impl Kernel for LayerNormBackward {
    type Params = Params;
    const NAME: &'static str = "layer_norm_backward";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/layer_norm_backward.wgsl");
    const PTX: Option<&'static str> = super::ptx!("layer_norm_backward");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::norm_backward::layer);

    fn variants() -> Vec<Variant> {
        super::rms_norm::row_variants()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, weight, d_y, mut d_x, mut stats] = bindings.take();
        let cols = p.cols as usize;
        let average = |sum: f32| sum / p.cols as f32;
        for row in 0..p.rows as usize {
            let at = row * cols..(row + 1) * cols;
            let (x, d_y) = (&x.f32()[at.clone()], &d_y.f32()[at.clone()]);
            let mean = average(x.iter().sum());
            let r = 1.0 / (average(x.iter().map(|x| (x - mean) * (x - mean)).sum()) + p.eps).sqrt();
            let g: Vec<f32> = d_y.iter().zip(weight.f32()).map(|(d_y, weight)| d_y * weight).collect();
            let z: Vec<f32> = x.iter().map(|x| (x - mean) * r).collect();
            let along = average(g.iter().zip(&z).map(|(g, z)| g * z).sum());
            let shift = average(g.iter().sum());
            for ((d_x, g), z) in d_x.f32_mut()[at].iter_mut().zip(g).zip(z) {
                *d_x = r * (g - shift - z * along);
            }
            stats.f32_mut()[2 * row..][..2].copy_from_slice(&[mean, r]);
        }
    }
}
