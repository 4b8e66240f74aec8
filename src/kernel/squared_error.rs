//! Squared error of each row and its gradient: `sum = sum of (y - target)^2`, `d_y = factor * (y - target)`.
//!
//! Bindings: y `[rows, cols]`; target; `d_y`; sums, one a row; f32.

use bytemuck::{Pod, Zeroable};

use super::part::Reduce;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct SquaredError;

/// The shape, and what the gradient is multiplied by.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// The gradient of one unit of difference.
    pub factor: f32,
}

const WG: u32 = 64;

/// The variant that reduces this way.
pub fn variant(reduce: Reduce) -> Variant {
    Variant::new().part(reduce.part()).constant("WG", WG)
}

impl Kernel for SquaredError {
    type Params = Params;
    const NAME: &'static str = "squared_error";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/squared_error.wgsl");
    const PTX: Option<&'static str> = super::ptx!("squared_error");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::train::squared_error);

    fn variants() -> Vec<Variant> {
        Reduce::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [y, target, mut d_y, mut sums] = bindings.take();
        for row in 0..p.rows as usize {
            let mut sum = 0.0;
            for i in row * p.cols as usize..(row + 1) * p.cols as usize {
                let difference = y.f32()[i] - target.f32()[i];
                d_y.f32_mut()[i] = p.factor * difference;
                sum += difference * difference;
            }
            sums.f32_mut()[row] = sum;
        }
    }
}
