//! Fast [`im2col`](crate::kernel::im2col), [`col2im`](crate::kernel::col2im), [`pool2d`](crate::kernel::pool2d) and
//! [`pool2d_backward`](crate::kernel::pool2d_backward): the twins' formulas over several threads, windows cut by rows of
//! pixels.

use super::rows;
use crate::dispatch::{Bindings, Variant};
use crate::kernel::im2col::Params;
use crate::kernel::{col2im as backward, pool2d as forward, pool2d_backward as pool};

/// [`Kernel::run`](crate::dispatch::Kernel::run) of im2col.
pub fn im2col(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, mut patches] = bindings.take();
    let patch = p.patch();
    rows::each(&mut patches.f32_mut()[..p.windows() * patch], patch, rows::per_task(patch), |first, patches| {
        for (number, patch) in (first..).zip(patches.chunks_exact_mut(patch)) {
            let (image, at) = p.window(number);
            cut(p, &x.f32()[image * p.image()..][..p.image()], at, patch);
        }
    });
}

/// One window of an image.
fn cut(p: &Params, image: &[f32], [oy, ox]: [u32; 2], patch: &mut [f32]) {
    let kernel = p.kernel_width as usize;
    let (channel_step, pixel_step) = (p.channel_step as usize, p.pixel_step as usize);
    let start = ox * p.stride;
    // Places of a row of the window that lie inside the image.
    let from = p.padding.saturating_sub(start).min(p.kernel_width) as usize;
    let to = ((p.width + p.padding).saturating_sub(start) as usize).clamp(from, kernel);
    for (line, out) in patch.chunks_exact_mut(kernel).enumerate() {
        let (channel, ky) = (line / p.kernel_height as usize, line as u32 % p.kernel_height);
        let y = (oy * p.stride + ky).checked_sub(p.padding).filter(|y| *y < p.height);
        out.fill(0.0);
        let (Some(y), true) = (y, from < to) else { continue };
        let x = start as usize + from - p.padding as usize;
        let first = channel * channel_step + (y as usize * p.width as usize + x) * pixel_step;
        for (out, value) in out[from..to].iter_mut().zip(image[first..].iter().step_by(pixel_step)) {
            *out = *value;
        }
    }
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of col2im.
pub fn col2im(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [d_patches, mut d_x] = bindings.take();
    let panel = rows::per_task(p.patch() / p.channels as usize);
    rows::each(&mut d_x.f32_mut()[..p.images as usize * p.image()], 1, panel, |first, d_x| {
        (first..).zip(d_x).for_each(|(index, d_x)| *d_x = backward::sum(p, d_patches.f32(), index));
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of pool2d.
pub fn pool2d(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [x, mut out] = bindings.take();
    let (channels, pool) = (p.channels as usize, forward::pool(variant));
    rows::each(&mut out.f32_mut()[..p.windows() * channels], channels, rows::per_task(p.patch()), |first, out| {
        for (window, out) in (first..).zip(out.chunks_exact_mut(channels)) {
            let channels = out.iter_mut().enumerate();
            channels.for_each(|(channel, out)| *out = forward::pooled(p, pool, x.f32(), window, channel));
        }
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of pool2d_backward.
pub fn pool2d_backward(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [x, d_y, mut d_x] = bindings.take();
    let kind = forward::pool(variant);
    let panel = rows::per_task(p.patch() / p.channels as usize);
    rows::each(&mut d_x.f32_mut()[..p.images as usize * p.image()], 1, panel, |first, d_x| {
        (first..).zip(d_x).for_each(|(index, d_x)| *d_x = pool::gradient(p, kind, x.f32(), d_y.f32(), index));
    });
}
