//! The gradient of [`pool2d`](super::pool2d): of each value of an image, the sum over the windows it lies in, by its place in
//! them, row by row: of the largest value the gradient of all windows in which it is the first such value, of the mean a
//! share of each.
//!
//! Bindings: x, images in the layout that the parameters state; d_y `[images * out_height * out_width, channels]`; d_x like x;
//! f32.

pub use super::im2col::Params;
use super::im2col::WG;
pub use super::pool2d::variant;
use super::pool2d::{Pool, pool};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct Pool2dBackward;

impl Kernel for Pool2dBackward {
    type Params = Params;
    const NAME: &'static str = "pool2d_backward";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/pool2d_backward.wgsl");
    const PTX: Option<&'static str> = super::ptx!("pool2d_backward");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::windows::pool2d_backward);

    fn variants() -> Vec<Variant> {
        [Pool::Max, Pool::Mean].map(variant).into()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.images as usize * p.image()).div_ceil(WG as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [x, d_y, mut d_x] = bindings.take();
        for (index, d_x) in d_x.f32_mut()[..p.images as usize * p.image()].iter_mut().enumerate() {
            *d_x = gradient(p, pool(variant), x.f32(), d_y.f32(), index);
        }
    }
}

/// The gradient of one value.
#[inline(always)]
pub(super) fn gradient(p: &Params, pool: Pool, x: &[f32], d_y: &[f32], index: usize) -> f32 {
    let (image, channel, pixel) = p.value(index);
    let first = image * p.image() + channel * p.channel_step as usize;
    let at = |pixel: usize| x[first + pixel * p.pixel_step as usize];
    let (height, width) = (p.out_height as usize, p.out_width as usize);
    let own = pixel[0] as usize * p.width as usize + pixel[1] as usize;
    let mut sum = 0.0;
    for place in p.places() {
        let Some(window) = p.covering(pixel, place) else { continue };
        let inside = || p.places().filter_map(|place| p.pixel(window, place));
        let first_largest = || inside().reduce(|best, pixel| if at(pixel) > at(best) { pixel } else { best });
        if pool == Pool::Mean || first_largest() == Some(own) {
            let row = (image * height + window[0] as usize) * width + window[1] as usize;
            sum += d_y[row * p.channels as usize + channel];
        }
    }
    match pool {
        Pool::Max => sum,
        Pool::Mean => sum / (p.kernel_height * p.kernel_width) as f32,
    }
}
