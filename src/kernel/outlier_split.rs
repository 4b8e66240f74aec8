//! Activations in two: those of columns without a flag as they are, those of flagged columns rounded to f16, half to even;
//! each is zero where the other is not. What is too large for f16 becomes infinite, a NaN stays. Equal on every device.
//!
//! Bindings: x, f32, `[rows, cols]`; flags, u32, one a column; the part without outliers and the one of outliers, f32,
//! `[rows, cols]`.

use bytemuck::{Pod, Zeroable};

use super::part::EXACT;
use crate::dispatch::{Access, Bindings, Kernel, Variant, linear_grid};
use crate::dtype::Dtype;

/// The kernel.
#[derive(Debug)]
pub struct OutlierSplit;

/// The shape of activations.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Tokens.
    pub rows: u32,
    /// Features.
    pub cols: u32,
}

const WG: u32 = 256;

/// The one variant.
pub fn variant() -> Variant {
    Variant::new().part(&EXACT).constant("WG", WG)
}

impl Kernel for OutlierSplit {
    type Params = Params;
    const NAME: &'static str = "outlier_split";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/outlier_split.wgsl");
    const PTX: Option<&'static str> = super::ptx!("outlier_split");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.rows as usize * p.cols as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, flags, mut inliers, mut outliers] = bindings.take();
        for i in 0..p.rows as usize * p.cols as usize {
            let value = x.f32()[i];
            let apart = flags.words()[i % p.cols as usize] != 0;
            let rounded = if value.is_nan() { value } else { Dtype::F16.round(value) };
            inliers.words_mut()[i] = if apart { 0 } else { value.to_bits() };
            outliers.words_mut()[i] = if apart { rounded.to_bits() } else { 0 };
        }
    }
}
