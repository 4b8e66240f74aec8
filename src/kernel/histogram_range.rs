//! How far a histogram reaches that holds what it held and values between some ends: bins span `-2^e .. 2^e`.
//!
//! Bindings: ends, smallest values and then largest ones, f32, `[2, cols]`; range, two words: e of the bins before and e
//! from now on, both plus [`BIAS`]; 0 of none.

use bytemuck::{Pod, Zeroable};

use super::part::Reduce;
use crate::dispatch::{Access, Bindings, Kernel, Variant};

/// The kernel.
#[derive(Debug)]
pub struct HistogramRange;

/// The shape.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Columns of the ends.
    pub cols: u32,
}

/// Added to the exponent of a range: the largest magnitude below `2^e` has this much more in the bits of its exponent.
pub const BIAS: i32 = 126;
/// The smallest range: bins of a histogram of up to 2^14 are still normal numbers.
pub const LEAST: u32 = 27;
/// The largest range: that of all finite values.
pub const MOST: u32 = 254;

const WG: u32 = 256;

/// The variant that reduces this way.
pub fn variant(reduce: Reduce) -> Variant {
    Variant::new().part(reduce.part()).constant("WG", WG)
}

impl Kernel for HistogramRange {
    type Params = Params;
    const NAME: &'static str = "histogram_range";
    const ACCESS: &'static [Access] = &[Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/histogram_range.wgsl");
    const PTX: Option<&'static str> = super::ptx!("histogram_range");

    fn variants() -> Vec<Variant> {
        Reduce::ALL.map(variant).to_vec()
    }

    fn grid(_: &Params, _: &Variant) -> [u32; 3] {
        [1, 1, 1]
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [ends, mut range] = bindings.take();
        let largest = ends.f32()[..2 * p.cols as usize].iter().fold(0f32, |most, end| most.max(end.abs()));
        let range = range.words_mut();
        range[0] = range[1];
        range[1] = range[1].max((largest.to_bits() >> 23).clamp(LEAST, MOST));
    }
}
