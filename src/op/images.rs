//! Images on a device, and windows that slide over them.

use serde::{Deserialize, Serialize};

use super::checks::{matrix, shape, size};
use super::windows::im2col;
use super::{Activations, param};
use crate::device::{Buffer, Recorder};
use crate::error::{Error, Result};
use crate::kernel::im2col::Params;

/// Extents of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageShape {
    /// Numbers of a pixel.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
}

impl ImageShape {
    /// Number of pixels.
    pub fn pixels(&self) -> usize {
        self.height.saturating_mul(self.width)
    }

    /// Number of values.
    pub fn values(&self) -> usize {
        self.channels.saturating_mul(self.pixels())
    }
}

/// What slides over images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Rows, and pixels of a row.
    pub kernel: [usize; 2],
    /// Pixels from one place to the next, in both directions.
    pub stride: usize,
    /// Pixels around an image, on each side, that count as 0.
    pub padding: usize,
}

impl Window {
    /// As high as wide.
    pub fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel: [kernel; 2], stride, padding }
    }

    /// How many places there are, one below the other and side by side.
    ///
    /// ```
    /// use bitsmith::op::{ImageShape, Window};
    /// let image = ImageShape { channels: 1, height: 28, width: 28 };
    /// assert_eq!(Window::square(5, 1, 0).places(&image)?, [24, 24]);
    /// assert_eq!(Window::square(3, 2, 1).places(&image)?, [14, 14]);
    /// assert!(Window::square(29, 1, 0).places(&image).is_err());
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for a window of no pixels, a stride of 0, or a window larger than the image with its padding.
    pub fn places(&self, image: &ImageShape) -> Result<[usize; 2]> {
        /// Far above any image; sums of two such extents fit 32 bits.
        const MOST: usize = 1 << 30;
        let Self { kernel: [height, width], stride, padding } = *self;
        let along = |kernel: usize, extent: usize| {
            let padded = padding.checked_mul(2).and_then(|both| extent.checked_add(both)).filter(|n| *n <= MOST)?;
            let right = kernel >= 1 && (1..=MOST).contains(&stride) && kernel <= padded;
            right.then(|| (padded - kernel) / stride + 1)
        };
        match (along(height, image.height), along(width, image.width)) {
            (Some(down), Some(across)) => Ok([down, across]),
            _ => {
                let window = format!("a window of {height} x {width}, stride {stride}, padding {padding}");
                Err(Error::config("kernel", format!("{window} does not fit {} x {}", image.height, image.width)))
            }
        }
    }
}

/// Images of one shape on a device, f32, in one of two layouts.
///
/// ```
/// use bitsmith::op::{Activations, ImageShape, Images};
/// use bitsmith::{Device, Recorder};
/// let device = Device::cpu();
/// // Two channels of one row of three pixels.
/// let x = Activations::upload(&device, 1, 6, &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0])?;
/// let images = Images::from_rows(x, ImageShape { channels: 2, height: 1, width: 3 })?;
/// let mut rec = Recorder::new(&device);
/// let pixels = images.pixels(&mut rec)?;
/// rec.submit()?;
/// assert_eq!((pixels.rows, pixels.cols), (3, 2));
/// assert_eq!(pollster::block_on(pixels.read(&device))?, [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Images {
    values: Activations,
    shape: ImageShape,
    count: usize,
    channels_last: bool,
}

const OP: &str = "images";

impl Images {
    /// An image a row, channel after channel: `[images, channels * height * width]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows of another length.
    pub fn from_rows(x: Activations, image: ImageShape) -> Result<Self> {
        matrix(OP, &x)?;
        if x.cols != image.values() {
            return Err(shape(OP, format!("rows of {} values", image.values()), x.cols));
        }
        Ok(Self { count: x.rows, values: x, shape: image, channels_last: false })
    }

    /// A pixel a row: `[images * height * width, channels]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for pixels of other channels, or for an image that is not whole.
    pub fn from_pixels(x: Activations, image: ImageShape) -> Result<Self> {
        matrix(OP, &x)?;
        if x.cols != image.channels || image.pixels() == 0 || !x.rows.is_multiple_of(image.pixels()) {
            let expected = format!("pixels of {} channels, {} an image", image.channels, image.pixels());
            return Err(shape(OP, expected, format!("{} x {}", x.rows, x.cols)));
        }
        Ok(Self { count: x.rows / image.pixels(), values: x, shape: image, channels_last: true })
    }

    /// Extents of each.
    pub fn shape(&self) -> &ImageShape {
        &self.shape
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The values in their layout.
    pub fn values(&self) -> &Activations {
        &self.values
    }

    /// Other values of the same shape and layout.
    ///
    /// # Errors
    /// [`Error::Shape`] for other values.
    pub fn with(&self, values: Activations) -> Result<Self> {
        let new = if self.channels_last { Self::from_pixels } else { Self::from_rows };
        new(values, self.shape)
    }

    /// A pixel a row, `[images * height * width, channels]`.
    ///
    /// # Errors
    /// Those of recording.
    pub fn pixels(&self, rec: &mut Recorder) -> Result<Activations> {
        im2col(rec, self, &Window::square(1, 1, 0))
    }

    /// An image a row, channel after channel: `[images, channels * height * width]`.
    ///
    /// # Errors
    /// Those of recording.
    pub fn flatten(&self, rec: &mut Recorder) -> Result<Activations> {
        let ImageShape { height, width, .. } = self.shape;
        im2col(rec, self, &Window { kernel: [height, width], stride: 1, padding: 0 })
    }

    /// The values as a matrix of other rows, where their order is that of the rows.
    pub(super) fn as_patches(&self, window: &Window) -> Option<Activations> {
        let ImageShape { channels, height, width } = self.shape;
        let pixels = window.kernel == [1, 1] && window.stride == 1 && window.padding == 0;
        let whole = window.kernel == [height, width] && window.padding == 0;
        let [rows, cols] = match (self.channels_last, channels == 1 || self.shape.pixels() == 1) {
            (true, _) | (_, true) if pixels => [self.count * self.shape.pixels(), channels],
            (false, _) | (_, true) if whole => [self.count, self.shape.values()],
            _ => return None,
        };
        Some(Activations { buffer: self.values.buffer.clone(), rows, cols })
    }

    /// The parameters of a kernel of windows.
    pub(super) fn params(&self, op: &'static str, window: &Window) -> Result<Params> {
        let ImageShape { channels, height, width } = self.shape;
        let [out_height, out_width] = window.places(&self.shape)?;
        let [kernel_height, kernel_width] = window.kernel;
        let places = self.count.saturating_mul(out_height).saturating_mul(out_width);
        size(op, places.saturating_mul(channels).saturating_mul(kernel_height).saturating_mul(kernel_width))?;
        let steps = if self.channels_last { [1, channels] } else { [self.shape.pixels(), 1] };
        Ok(Params {
            images: param(op, self.count)?,
            channels: param(op, channels)?,
            height: param(op, height)?,
            width: param(op, width)?,
            kernel_height: param(op, kernel_height)?,
            kernel_width: param(op, kernel_width)?,
            stride: param(op, window.stride)?,
            padding: param(op, window.padding)?,
            out_height: param(op, out_height)?,
            out_width: param(op, out_width)?,
            channel_step: param(op, steps[0])?,
            pixel_step: param(op, steps[1])?,
        })
    }

    pub(super) fn buffer(&self) -> &Buffer {
        &self.values.buffer
    }
}
