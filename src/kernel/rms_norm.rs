//! `out = x / sqrt(mean(x^2) + eps) * weight`, row by row.
//!
//! Bindings: x `[rows, cols]`; weight `[cols]`; out `[rows, cols]`; all f32.

use bytemuck::{Pod, Zeroable};

use super::part::Reduce;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct RmsNorm;

/// The rows; those of RMSNorm and of LayerNorm.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows, each normalized by itself.
    pub rows: u32,
    /// Elements of a row.
    pub cols: u32,
    /// Added to the mean square.
    pub eps: f32,
}

/// Invocations that share a row: a short row, as that of one attention head, would leave most of the larger idle.
const WORKGROUPS: [u32; 2] = [64, 256];

/// The variant for rows of `cols` elements.
pub fn variant(reduce: Reduce, cols: usize) -> Variant {
    sized(reduce, WORKGROUPS[usize::from(cols > 256)])
}

fn sized(reduce: Reduce, workgroup: u32) -> Variant {
    Variant::new().part(reduce.part()).constant("WG", workgroup)
}

/// Every variant of a kernel that takes one workgroup a row.
pub(super) fn row_variants() -> Vec<Variant> {
    Reduce::ALL.into_iter().flat_map(|r| WORKGROUPS.map(|w| sized(r, w))).collect()
}

impl Kernel for RmsNorm {
    type Params = Params;
    const NAME: &'static str = "rms_norm";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/rms_norm.wgsl");
    const PTX: Option<&'static str> = super::ptx!("rms_norm");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::norm::rms);

    fn variants() -> Vec<Variant> {
        row_variants()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, weight, mut out] = bindings.take();
        let cols = p.cols as usize;
        for row in 0..p.rows as usize {
            let row = row * cols..(row + 1) * cols;
            let x = &x.f32()[row.clone()];
            let squares: f32 = x.iter().map(|x| x * x).sum();
            let scale = 1.0 / (squares / p.cols as f32 + p.eps).sqrt();
            for ((out, x), weight) in out.f32_mut()[row].iter_mut().zip(x).zip(weight.f32()) {
                *out = x * scale * weight;
            }
        }
    }
}
