//! Columns of activations that hold an outlier: 1 where any `|x| >= threshold`, a NaN included, else 0. Equal on every device.
//!
//! Bindings: x, f32, `[rows, cols]`; flags, u32, one a column.

use bytemuck::{Pod, Zeroable};

use crate::dispatch::{Access, Bindings, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct OutlierColumns;

/// The shape of activations, and what an outlier is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Tokens.
    pub rows: u32,
    /// Features.
    pub cols: u32,
    /// The magnitude from which on a value is an outlier, above 0.
    pub threshold: f32,
}

const WG: u32 = 64;

/// The one variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for OutlierColumns {
    type Params = Params;
    const NAME: &'static str = "outlier_columns";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/outlier_columns.wgsl");
    const PTX: Option<&'static str> = super::ptx!("outlier_columns");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.cols.div_ceil(WG) as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, mut flags] = bindings.take();
        let (rows, cols) = (p.rows as usize, p.cols as usize);
        let flags = &mut flags.words_mut()[..cols];
        flags.fill(0);
        for row in x.words()[..rows * cols].chunks_exact(cols) {
            for (flag, bits) in flags.iter_mut().zip(row) {
                // Magnitudes order as their bits do, with infinities and NaN above all.
                *flag |= u32::from(bits & 0x7fff_ffff >= p.threshold.to_bits());
            }
        }
    }
}
