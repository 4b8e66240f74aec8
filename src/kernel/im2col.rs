//! The windows of images, one a row: what turns a convolution into a matrix product. Of image n, output place (oy, ox),
//! channel c and place (ky, kx) in the window,
//! `patches[(n, oy, ox), (c, ky, kx)] = x[n, c, oy * stride + ky - padding, ox * stride + kx - padding]`, 0 outside.
//!
//! Bindings: x, images in the layout that the parameters state; patches; f32.

use bytemuck::{Pod, Zeroable};

pub use super::add::variant;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct Im2col;

/// Images and the windows that slide over them; for every kernel of windows. The value of a channel at a pixel of image n
/// is at `n * channels * height * width + channel * channel_step + (y * width + x) * pixel_step`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Images.
    pub images: u32,
    /// Channels of an image.
    pub channels: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Pixels of a row.
    pub width: u32,
    /// Rows of a window.
    pub kernel_height: u32,
    /// Pixels of a row of a window.
    pub kernel_width: u32,
    /// Pixels from one window to the next.
    pub stride: u32,
    /// Pixels around an image that count as 0, on each side.
    pub padding: u32,
    /// Windows one below the other.
    pub out_height: u32,
    /// Windows side by side.
    pub out_width: u32,
    /// Values from one channel to the next.
    pub channel_step: u32,
    /// Values from one pixel to the next.
    pub pixel_step: u32,
}

pub(super) const WG: u32 = super::activate::WG;

impl Params {
    /// Values of an image.
    pub fn image(&self) -> usize {
        [self.channels, self.height, self.width].map(|n| n as usize).iter().product()
    }

    /// Windows of all images.
    pub fn windows(&self) -> usize {
        [self.images, self.out_height, self.out_width].map(|n| n as usize).iter().product()
    }

    /// Values of a window.
    pub fn patch(&self) -> usize {
        [self.channels, self.kernel_height, self.kernel_width].map(|n| n as usize).iter().product()
    }

    /// Image and output place of a window, by its number.
    #[inline]
    pub(super) fn window(&self, number: usize) -> (usize, [u32; 2]) {
        let (width, pixels) = (self.out_width as usize, self.out_height as usize * self.out_width as usize);
        #[allow(clippy::cast_possible_truncation, reason = "below the extents of the output")]
        (number / pixels, [(number % pixels / width) as u32, (number % width) as u32])
    }

    /// The index of the pixel at a place in a window, in rows of pixels; none in the padding.
    #[inline]
    pub(super) fn pixel(&self, [oy, ox]: [u32; 2], [ky, kx]: [u32; 2]) -> Option<usize> {
        let along = |o: u32, k: u32, extent: u32| {
            (o * self.stride + k).checked_sub(self.padding).filter(|at| *at < extent).map(|at| at as usize)
        };
        Some(along(oy, ky, self.height)? * self.width as usize + along(ox, kx, self.width)?)
    }

    /// The output place of the window in which a pixel lies at a place; none if there is no such window.
    #[inline]
    pub(super) fn covering(&self, [y, x]: [u32; 2], [ky, kx]: [u32; 2]) -> Option<[u32; 2]> {
        let along = |at: u32, k: u32, out: u32| {
            let from = (at + self.padding).checked_sub(k)?;
            (from % self.stride == 0 && from / self.stride < out).then_some(from / self.stride)
        };
        Some([along(y, ky, self.out_height)?, along(x, kx, self.out_width)?])
    }

    /// The places in a window, row by row.
    #[inline]
    pub(super) fn places(&self) -> impl Iterator<Item = [u32; 2]> + use<> {
        let (height, width) = (self.kernel_height, self.kernel_width);
        (0..height).flat_map(move |ky| (0..width).map(move |kx| [ky, kx]))
    }

    /// Image, channel and pixel of a value of the images.
    #[inline]
    pub(super) fn value(&self, index: usize) -> (usize, usize, [u32; 2]) {
        let (width, pixels) = (self.width as usize, self.height as usize * self.width as usize);
        let (image, rest) = (index / self.image(), index % self.image());
        let channel = rest / self.channel_step as usize % self.channels as usize;
        let pixel = rest / self.pixel_step as usize % pixels;
        #[allow(clippy::cast_possible_truncation, reason = "below the extents of an image")]
        (image, channel, [(pixel / width) as u32, (pixel % width) as u32])
    }
}

impl Kernel for Im2col {
    type Params = Params;
    const NAME: &'static str = "im2col";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/im2col.wgsl");
    const PTX: Option<&'static str> = super::ptx!("im2col");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::windows::im2col);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.windows() * p.patch()).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, mut patches] = bindings.take();
        for (number, patch) in patches.f32_mut()[..p.windows() * p.patch()].chunks_exact_mut(p.patch()).enumerate() {
            let (image, at) = p.window(number);
            for (channel, values) in patch.chunks_exact_mut(p.patch() / p.channels as usize).enumerate() {
                for (value, place) in values.iter_mut().zip(p.places()) {
                    let first = image * p.image() + channel * p.channel_step as usize;
                    let pixel = p.pixel(at, place).map(|pixel| first + pixel * p.pixel_step as usize);
                    *value = pixel.map_or(0.0, |index| x.f32()[index]);
                }
            }
        }
    }
}
