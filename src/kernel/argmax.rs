//! Index of the largest value of each row, the lowest such index on ties.
//!
//! Bindings: values `[rows, cols]`; indices, u32, one a row. Values are compared as integers, so that no device
//! gets denormals wrong; zeros of either sign are equal, and a NaN counts as beyond the infinity of its sign.

use bytemuck::{Pod, Zeroable};

use super::part::LARGEST;
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct Argmax;

/// The shape of the values.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub rows: u32,
    /// Values of a row.
    pub cols: u32,
}

const WG: u32 = 256;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().part(&LARGEST).constant("WG", WG)
}

/// An integer that orders as the f32 with these bits does.
#[inline(always)]
pub(super) fn order(bits: u32) -> u32 {
    const NEGATIVE_ZERO: u32 = 1 << 31;
    if bits <= NEGATIVE_ZERO { bits | NEGATIVE_ZERO } else { !bits }
}

/// Index of the largest f32, given as bits; the lowest such index on ties. 0 of nothing.
pub(super) fn largest(row: &[u32]) -> u32 {
    let (mut best, mut index) = (0, 0);
    for (i, bits) in (0..).zip(row) {
        if order(*bits) > best {
            (best, index) = (order(*bits), i);
        }
    }
    index
}

impl Kernel for Argmax {
    type Params = Params;
    const NAME: &'static str = "argmax";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/argmax.wgsl");
    const PTX: Option<&'static str> = super::ptx!("argmax");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::loss::argmax);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize)
    }

    /// Long rows take more threads: few of them come at once.
    fn cuda(p: &Params, variant: &Variant) -> Option<CudaLaunch> {
        let block = if p.cols > 8192 { 1024 } else { WG };
        Some(CudaLaunch { entry: Self::NAME, grid: Self::grid(p, variant), block, shared: 0 })
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [values, mut indices] = bindings.take();
        for row in 0..p.rows as usize {
            indices.words_mut()[row] = largest(&values.words()[row * p.cols as usize..][..p.cols as usize]);
        }
    }
}
