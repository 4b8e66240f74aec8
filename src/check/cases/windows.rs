//! Cases of windows of images: cut out, pooled, and their gradients; scale and shift of channels.

use super::Wanted;
use super::block::{MATRICES, floats};
use super::group::u;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::dispatch::{Kernel, Variant};
use crate::kernel::add_bias;
use crate::kernel::col2im::Col2im;
use crate::kernel::im2col::{Im2col, Params};
use crate::kernel::pool2d::Pool2d;
use crate::kernel::pool2d_backward::Pool2dBackward;
use crate::kernel::scale_shift::ScaleShift;
use crate::random::Random;

/// Images, channels, height, width; height and width of the window, stride, padding: a single value, windows as large as
/// the image, with a stride that leaves pixels out, with padding, of one pixel, of even extents; around a workgroup and primes.
const WINDOWS: [[usize; 8]; 8] = [
    [1, 1, 1, 1, 1, 1, 1, 0],
    [2, 3, 4, 5, 4, 5, 1, 0],
    [3, 2, 7, 6, 3, 2, 2, 1],
    [2, 1, 8, 8, 2, 2, 2, 0],
    [1, 5, 9, 11, 3, 3, 1, 1],
    [2, 4, 5, 5, 1, 1, 3, 0],
    [1, 17, 3, 5, 2, 3, 1, 1],
    [5, 3, 13, 7, 5, 5, 3, 2],
];

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for size in WINDOWS {
        for channels_last in [false, true] {
            wanted(Im2col::SPEC).into_iter().for_each(|v| cases.push(cut(size, channels_last, v)));
            wanted(Col2im::SPEC).into_iter().for_each(|v| cases.push(cut_backward(size, channels_last, v)));
            wanted(Pool2d::SPEC).into_iter().for_each(|v| cases.push(pool(size, channels_last, v)));
            wanted(Pool2dBackward::SPEC).into_iter().for_each(|v| cases.push(pool_backward(size, channels_last, v)));
        }
    }
    for size in MATRICES {
        wanted(ScaleShift::SPEC).into_iter().for_each(|v| cases.push(scale_shift(size, v)));
    }
    cases
}

fn params(size: [usize; 8], channels_last: bool) -> (Params, String) {
    let [images, channels, height, width, kernel_height, kernel_width, stride, padding] = size.map(u);
    let places = |extent, kernel| (extent + 2 * padding - kernel) / stride + 1;
    let [channel_step, pixel_step] = if channels_last { [1, channels] } else { [height * width, 1] };
    let (out_height, out_width) = (places(height, kernel_height), places(width, kernel_width));
    let params = Params {
        images,
        channels,
        height,
        width,
        kernel_height,
        kernel_width,
        stride,
        padding,
        out_height,
        out_width,
        channel_step,
        pixel_step,
    };
    let layout = if channels_last { "last" } else { "first" };
    let name =
        format!("{images}x{channels}x{height}x{width}k{kernel_height}x{kernel_width}s{stride}p{padding}{layout}");
    (params, name)
}

/// Values of the images; some are equal, so that the first of them counts.
fn values(p: &Params) -> Binding {
    let count = p.images as usize * p.image();
    let mut random = Random::new(u(count + 3));
    floats((0..count).map(|_| (4.0 * random.normal()).round() / 4.0).collect())
}

fn cut(size: [usize; 8], channels_last: bool, variant: Variant) -> Case {
    let (params, name) = params(size, channels_last);
    let patches = Binding::Out(params.windows() * params.patch(), Tolerance::EXACT);
    Case::new::<Im2col>(variant, name, &params, vec![values(&params), patches])
}

/// Sums in one order.
fn cut_backward(size: [usize; 8], channels_last: bool, variant: Variant) -> Case {
    let (params, name) = params(size, channels_last);
    let d_patches = floats(Random::new(5).normals(params.windows() * params.patch()));
    let d_x = Binding::Out(params.images as usize * params.image(), Tolerance::EXACT);
    Case::new::<Col2im>(variant, name, &params, vec![d_patches, d_x])
}

/// A mean ends in a division.
fn pool(size: [usize; 8], channels_last: bool, variant: Variant) -> Case {
    let (params, name) = params(size, channels_last);
    let out = Binding::Out(params.windows() * params.channels as usize, Tolerance::ELEMENTWISE);
    Case::new::<Pool2d>(variant, name, &params, vec![values(&params), out])
}

fn pool_backward(size: [usize; 8], channels_last: bool, variant: Variant) -> Case {
    let (params, name) = params(size, channels_last);
    let d_y = floats(Random::new(6).normals(params.windows() * params.channels as usize));
    let d_x = Binding::Out(params.images as usize * params.image(), Tolerance::ELEMENTWISE);
    Case::new::<Pool2dBackward>(variant, name, &params, vec![values(&params), d_y, d_x])
}

/// A product and a sum, which a device may fuse.
fn scale_shift((rows, cols): (usize, usize), variant: Variant) -> Case {
    let mut random = Random::new(u(rows * 89 + cols));
    let params = add_bias::Params { rows: u(rows), cols: u(cols) };
    let (x, scale, shift) = (random.normals(rows * cols), random.normals(cols), random.normals(cols));
    let out = Binding::Out(rows * cols, Tolerance::ELEMENTWISE);
    Case::new::<ScaleShift>(
        variant,
        format!("{rows}x{cols}"),
        &params,
        vec![floats(x), floats(scale), floats(shift), out],
    )
}
