//! The gradient of [`im2col`](super::im2col): of each value of an image, the sum of the gradients of the windows' values that
//! were taken from it, by their place in the window, row by row.
//!
//! Bindings: d_patches `[windows, channels * kernel_height * kernel_width]`; d_x, images in the layout that the parameters
//! state; f32.

pub use super::add::variant;
pub use super::im2col::Params;
use super::im2col::WG;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct Col2im;

impl Kernel for Col2im {
    type Params = Params;
    const NAME: &'static str = "col2im";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/col2im.wgsl");
    const PTX: Option<&'static str> = super::ptx!("col2im");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::windows::col2im);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.images as usize * p.image()).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [d_patches, mut d_x] = bindings.take();
        for (index, d_x) in d_x.f32_mut()[..p.images as usize * p.image()].iter_mut().enumerate() {
            *d_x = sum(p, d_patches.f32(), index);
        }
    }
}

/// The gradient of one value.
#[inline(always)]
pub(super) fn sum(p: &Params, d_patches: &[f32], index: usize) -> f32 {
    let (image, channel, pixel) = p.value(index);
    let (height, width) = (p.out_height as usize, p.out_width as usize);
    let mut sum = 0.0;
    for (k, place) in p.places().enumerate() {
        if let Some([oy, ox]) = p.covering(pixel, place) {
            let window = (image * height + oy as usize) * width + ox as usize;
            sum += d_patches[window * p.patch() + channel * (p.patch() / p.channels as usize) + k];
        }
    }
    sum
}
