//! A histogram whose range grew by a power of two: neighbouring bins become one, which loses no count.
//!
//! Bindings: range, as [`histogram_range`](super::histogram_range) leaves it; counts before `[bins]`; counts `[bins]`. Half
//! of the bins are those of negative values.

use bytemuck::{Pod, Zeroable};

use crate::dispatch::{Access, Bindings, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct HistogramWiden;

/// The shape.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of bins, a power of two.
    pub bins: u32,
}

const WG: u32 = 256;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for HistogramWiden {
    type Params = Params;
    const NAME: &'static str = "histogram_widen";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/histogram_widen.wgsl");
    const PTX: Option<&'static str> = super::ptx!("histogram_widen");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.bins as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [range, before, mut counts] = bindings.take();
        let grown = (range.words()[1] - range.words()[0]).min(31);
        let (counts, middle) = (&mut counts.words_mut()[..p.bins as usize], i64::from(p.bins / 2));
        counts.fill(0);
        for (i, n) in (0..).zip(&before.words()[..p.bins as usize]) {
            // Rounds down, so that no bin spans 0.
            let to = ((i - middle) >> grown) + middle;
            counts[usize::try_from(to).expect("a bin nearer to the middle")] += n;
        }
    }
}
