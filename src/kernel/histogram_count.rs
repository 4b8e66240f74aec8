//! Counts values in the bins of a histogram, in addition to what is in them. A value on an edge belongs to the bin above,
//! NaN to none; beyond the range the outermost bins count.
//!
//! Bindings: x, f32; range, as [`histogram_range`](super::histogram_range) leaves it; counts `[bins]`, which span
//! `-2^e .. 2^e`.

use bytemuck::{Pod, Zeroable};

use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct HistogramCount;

/// The sizes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of values.
    pub count: u32,
    /// Number of bins, a power of two.
    pub bins: u32,
}

const WG: u32 = 256;
/// Values that an invocation counts.
const EACH: u32 = 8;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG).constant("EACH", EACH)
}

impl Kernel for HistogramCount {
    type Params = Params;
    const NAME: &'static str = "histogram_count";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/histogram_count.wgsl");
    const PTX: Option<&'static str> = super::ptx!("histogram_count");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::histogram_count::histogram_count);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil((WG * EACH) as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, range, mut counts] = bindings.take();
        let scale = bins_to_one(p.bins, range.words()[1]);
        for x in x.f32()[..p.count as usize].iter().filter(|x| !x.is_nan()) {
            counts.words_mut()[bin(*x, scale, p.bins)] += 1;
        }
    }
}

/// Number of bins that a distance of 1 spans, a power of two: products with it are exact.
pub(super) fn bins_to_one(bins: u32, range: u32) -> f32 {
    f32::from_bits((252 + bins.trailing_zeros() - range) << 23)
}

/// The bin of a value that is not NaN.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of bins")]
pub(super) fn bin(x: f32, scale: f32, bins: u32) -> usize {
    let middle = (bins / 2) as f32;
    ((x * scale).floor().clamp(-middle, middle - 1.0) + middle) as usize
}
