//! The largest value of a channel in each window, or the mean of all values of the window, those of the padding being 0.
//! The padding has no largest value; a window lies at least partly inside. Values are no NaN.
//!
//! Bindings: x, images in the layout that the parameters state; out `[images * out_height * out_width, channels]`; f32.

pub use super::im2col::Params;
use super::im2col::WG;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct Pool2d;

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Its largest value.
    Max,
    /// Its mean.
    Mean,
}

/// The variant for a kind.
pub fn variant(pool: Pool) -> Variant {
    Variant::new().constant("WG", WG).constant("MEAN", u32::from(pool == Pool::Mean))
}

/// The kind of a variant.
pub(super) fn pool(variant: &Variant) -> Pool {
    if variant.get("MEAN") == 1 { Pool::Mean } else { Pool::Max }
}

impl Kernel for Pool2d {
    type Params = Params;
    const NAME: &'static str = "pool2d";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/pool2d.wgsl");
    const PTX: Option<&'static str> = super::ptx!("pool2d");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::windows::pool2d);

    fn variants() -> Vec<Variant> {
        [Pool::Max, Pool::Mean].map(variant).into()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.windows() * p.channels as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [x, mut out] = bindings.take();
        let (channels, pool) = (p.channels as usize, pool(variant));
        for (index, out) in out.f32_mut()[..p.windows() * channels].iter_mut().enumerate() {
            *out = pooled(p, pool, x.f32(), index / channels, index % channels);
        }
    }
}

/// What becomes of a channel of one window.
#[inline(always)]
pub(super) fn pooled(p: &Params, pool: Pool, x: &[f32], window: usize, channel: usize) -> f32 {
    let (image, at) = p.window(window);
    let first = image * p.image() + channel * p.channel_step as usize;
    let inside = p.places().filter_map(|place| p.pixel(at, place));
    let values = inside.map(|pixel| x[first + pixel * p.pixel_step as usize]);
    match pool {
        Pool::Max => values.reduce(|best, value| if value > best { value } else { best }).unwrap_or(0.0),
        Pool::Mean => values.sum::<f32>() / (p.kernel_height * p.kernel_width) as f32,
    }
}
