//! `out = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias`, row by row; the variance is the mean square of the
//! centred row, in a pass of its own.
//!
//! Bindings: x `[rows, cols]`; weight `[cols]`; bias `[cols]`; out `[rows, cols]`; all f32.

pub use super::rms_norm::{Params, variant};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct LayerNorm;

impl Kernel for LayerNorm {
    type Params = Params;
    const NAME: &'static str = "layer_norm";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/layer_norm.wgsl");
    const PTX: Option<&'static str> = super::ptx!("layer_norm");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::norm::layer);

    fn variants() -> Vec<Variant> {
        super::rms_norm::row_variants()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, weight, bias, mut out] = bindings.take();
        let cols = p.cols as usize;
        for row in 0..p.rows as usize {
            let row = row * cols..(row + 1) * cols;
            let x = &x.f32()[row.clone()];
            let mean = x.iter().sum::<f32>() / p.cols as f32;
            let squares: f32 = x.iter().map(|x| (x - mean) * (x - mean)).sum();
            let scale = 1.0 / (squares / p.cols as f32 + p.eps).sqrt();
            let affine = weight.f32().iter().zip(bias.f32());
            for ((out, x), (weight, bias)) in out.f32_mut()[row].iter_mut().zip(x).zip(affine) {
                *out = (x - mean) * scale * weight + bias;
            }
        }
    }
}
