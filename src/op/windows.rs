//! Windows of images: cut out for a matrix product, or pooled.

use super::Activations;
use super::images::{ImageShape, Images, Window};
use crate::device::{Adjoint, Buffer, BufferId, Gradients, Recorder};
use crate::error::{Error, Result};
use crate::kernel::col2im::Col2im;
use crate::kernel::im2col::{self, Im2col, Params};
use crate::kernel::pool2d::{self, Pool, Pool2d};
use crate::kernel::pool2d_backward::Pool2dBackward;

/// The windows of images, one a row: `[images * places, channels * kernel]`, of each window channel after channel, as the
/// weight of a convolution has its columns. Where that is the order the images have, it is their memory.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations, ImageShape, Images, Window}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 1, 6, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// let images = Images::from_rows(x, ImageShape { channels: 1, height: 2, width: 3 })?;
/// let mut rec = Recorder::new(&device);
/// let patches = op::im2col(&mut rec, &images, &Window::square(2, 1, 0))?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(patches.read(&device))?, [1.0, 2.0, 4.0, 5.0, 2.0, 3.0, 5.0, 6.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for a window that does not fit, and those of recording.
pub fn im2col(rec: &mut Recorder, x: &Images, window: &Window) -> Result<Activations> {
    let params = x.params("im2col", window)?;
    if let Some(patches) = x.as_patches(window) {
        return Ok(patches);
    }
    let (rows, cols) = (params.windows(), params.patch());
    let y = Activations { buffer: rec.alloc(rows * cols * 4)?, rows, cols };
    rec.dispatch::<Im2col>(&params, im2col::variant(), &[x.buffer(), &y.buffer])?;
    rec.keep(&[x.buffer()], &[&y.buffer], || Im2colAdjoint { params, x: x.buffer().id(), y: y.buffer.id() });
    Ok(y)
}

/// The largest value of each channel in each window. The padding is no value. The gradient goes to the first value that is
/// the largest.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations, ImageShape, Images, Window}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 1, 4, &[1.0, -2.0, 4.0, 3.0])?;
/// let images = Images::from_rows(x, ImageShape { channels: 1, height: 2, width: 2 })?;
/// let mut rec = Recorder::new(&device);
/// let most = op::max_pool2d(&mut rec, &images, &Window::square(2, 2, 0))?;
/// let mean = op::avg_pool2d(&mut rec, &images, &Window::square(2, 2, 0))?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(most.values().read(&device))?, [4.0]);
/// assert_eq!(pollster::block_on(mean.values().read(&device))?, [1.5]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for a window that does not fit or has a padding of more than half of it, and those of recording.
pub fn max_pool2d(rec: &mut Recorder, x: &Images, window: &Window) -> Result<Images> {
    pool(rec, x, window, Pool::Max)
}

/// The mean of each channel in each window, the padding counted as zeros.
///
/// # Errors
/// As [`max_pool2d`].
pub fn avg_pool2d(rec: &mut Recorder, x: &Images, window: &Window) -> Result<Images> {
    pool(rec, x, window, Pool::Mean)
}

fn pool(rec: &mut Recorder, x: &Images, window: &Window, pool: Pool) -> Result<Images> {
    let shape = window.pooled(x.shape())?;
    let params = x.params("pool2d", window)?;
    let (rows, cols) = (params.windows(), shape.channels);
    let y = Activations { buffer: rec.alloc(rows * cols * 4)?, rows, cols };
    rec.dispatch::<Pool2d>(&params, pool2d::variant(pool), &[x.buffer(), &y.buffer])?;
    let adjoint = || PoolAdjoint { params, pool, x: x.buffer().clone(), y: y.buffer.id() };
    rec.keep(&[x.buffer()], &[&y.buffer], adjoint);
    Images::from_pixels(y, shape)
}

impl Window {
    /// The shape of pooled images.
    ///
    /// # Errors
    /// As [`max_pool2d`].
    pub fn pooled(&self, image: &ImageShape) -> Result<ImageShape> {
        if self.kernel.iter().any(|extent| self.padding > extent / 2) {
            let detail = format!("{} around images is more than half of the window", self.padding);
            return Err(Error::config("padding", detail));
        }
        let [height, width] = self.places(image)?;
        Ok(ImageShape { channels: image.channels, height, width })
    }
}

#[derive(Debug)]
struct Im2colAdjoint {
    params: Params,
    x: BufferId,
    y: BufferId,
}

impl Adjoint for Im2colAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(d_y) = gradients.take(self.y) else { return Ok(()) };
        let d_x = rec.alloc(self.params.images as usize * self.params.image() * 4)?;
        rec.dispatch::<Col2im>(&self.params, im2col::variant(), &[&d_y, &d_x])?;
        gradients.add(rec, self.x, d_x)
    }
}

#[derive(Debug)]
struct PoolAdjoint {
    params: Params,
    pool: Pool,
    x: Buffer,
    y: BufferId,
}

impl Adjoint for PoolAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(d_y) = gradients.take(self.y) else { return Ok(()) };
        let d_x = rec.alloc(self.params.images as usize * self.params.image() * 4)?;
        rec.dispatch::<Pool2dBackward>(&self.params, pool2d::variant(self.pool), &[&self.x, &d_y, &d_x])?;
        gradients.add(rec, &self.x, d_x)
    }
}
