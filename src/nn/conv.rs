//! A convolution that trains as it will be deployed.

use super::config::BitLinearConfig;
use super::deployed::DeployedLinear;
use super::linear::BitLinear;
use super::parameter::Parameter;
use super::source::{Maker, Source};
use crate::device::{Device, Recorder};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::op::{self, Activations, ImageShape, Images, Window};
use crate::random::Random;

/// What a convolution is: channels in and out, and the window.
///
/// ```
/// use bitsmith::nn::ConvShape;
/// use bitsmith::op::{ImageShape, Window};
/// let shape = ConvShape { in_channels: 1, out_channels: 20, window: Window::square(5, 1, 0) };
/// let out = shape.out(&ImageShape { channels: 1, height: 28, width: 28 })?;
/// assert_eq!(out, ImageShape { channels: 20, height: 24, width: 24 });
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Channels of the images.
    pub in_channels: usize,
    /// Channels of what comes out.
    pub out_channels: usize,
    /// What slides over the images.
    pub window: Window,
}

impl ConvShape {
    /// What comes out of an image.
    ///
    /// # Errors
    /// [`Error::Shape`] for other channels, [`Error::Config`] for a window that does not fit.
    pub fn out(&self, image: &ImageShape) -> Result<ImageShape> {
        if image.channels != self.in_channels {
            let expected = format!("images of {} channels", self.in_channels);
            return Err(Error::Shape { op: "convolution", expected, found: image.channels.to_string() });
        }
        let [height, width] = self.window.places(image)?;
        Ok(ImageShape { channels: self.out_channels, height, width })
    }

    /// `[out_channels, in_channels, kernel, kernel]`.
    pub(super) fn weight(&self) -> [usize; 4] {
        let [height, width] = self.window.kernel;
        [self.out_channels, self.in_channels, height, width]
    }

    /// The product of all windows with a weight.
    fn forward(
        &self,
        rec: &mut Recorder,
        x: &Images,
        product: impl FnOnce(&mut Recorder, &Activations) -> Result<Activations>,
    ) -> Result<Images> {
        let out = self.out(x.shape())?;
        let patches = op::im2col(rec, x, &self.window)?;
        Images::from_pixels(product(rec, &patches)?, out)
    }
}

/// A convolution with a weight in f32 that trains, and is quantized whenever it is used: a [`BitLinear`] of the windows of
/// images, so that int8 activations have a scale for each window.
///
/// ```
/// use bitsmith::nn::{BitConv2d, BitLinearConfig, ConvShape};
/// use bitsmith::op::{Activations, ImageShape, Images, Window};
/// use bitsmith::{Device, Random, Recorder};
/// let device = Device::cpu();
/// let shape = ConvShape { in_channels: 3, out_channels: 8, window: Window::square(3, 1, 1) };
/// let layer = BitConv2d::new(&device, "conv1", shape, BitLinearConfig::default(), &mut Random::new(1))?;
/// let x = Activations::upload(&device, 2, 75, &Random::new(2).normals(150))?;
/// let x = Images::from_rows(x, ImageShape { channels: 3, height: 5, width: 5 })?;
/// let mut rec = Recorder::new(&device);
/// let y = layer.forward(&mut rec, &x)?;
/// rec.submit()?;
/// assert_eq!((y.count(), y.shape().channels, y.shape().pixels()), (2, 8, 25));
/// let deployed = pollster::block_on(layer.deploy())?;
/// // 27 codes of 2 bits are two words a channel; and a scale.
/// assert_eq!(deployed.linear().weight_bytes(), 8 * 2 * 4 + 4);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct BitConv2d {
    linear: BitLinear,
    shape: ConvShape,
}

impl BitConv2d {
    /// With random weights, as [`BitLinear::new`] draws them.
    ///
    /// # Errors
    /// As [`BitLinear::new`].
    pub fn new(
        device: &Device,
        name: &str,
        shape: ConvShape,
        config: BitLinearConfig,
        random: &mut Random,
    ) -> Result<Self> {
        let mut source = Source::Random(random.clone());
        let layer = Self::of(device, name, shape, config, &mut source)?;
        if let Source::Random(after) = source {
            *random = after;
        }
        Ok(layer)
    }

    /// With `{name}.weight` `[out_channels, in_channels, kernel, kernel]` and `{name}.bias` of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Format`] for a tensor that is missing or has another shape, [`Error::Config`] for a config that cannot be, and
    /// those of the device.
    pub fn load(
        device: &Device,
        name: &str,
        shape: ConvShape,
        config: BitLinearConfig,
        checkpoint: &Checkpoint,
    ) -> Result<Self> {
        Self::of(device, name, shape, config, &mut Source::Checkpoint(checkpoint))
    }

    fn of(
        device: &Device,
        name: &str,
        shape: ConvShape,
        config: BitLinearConfig,
        source: &mut Source<'_>,
    ) -> Result<Self> {
        Ok(Self::with_linear(source.layer(device, name, &shape.weight(), config)?, shape))
    }

    pub(super) fn with_linear(linear: BitLinear, shape: ConvShape) -> Self {
        Self { linear, shape }
    }

    /// Channels and window.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// The layer that each window meets.
    pub fn linear(&self) -> &BitLinear {
        &self.linear
    }

    pub(super) fn linear_mut(&mut self) -> &mut BitLinear {
        &mut self.linear
    }

    /// `{name}.weight` `[out_channels, in_channels, kernel, kernel]` and, if there is one, `{name}.bias` `[out_channels]`.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all = self.linear.parameters();
        all[0].shape = self.shape.weight().into();
        all
    }

    /// As [`BitLinear::eval`].
    ///
    /// # Errors
    /// Those of the device.
    pub fn eval(&mut self) -> Result<()> {
        self.linear.eval()
    }

    /// As [`BitLinear::train`].
    pub fn train(&mut self) {
        self.linear.train();
    }

    /// The layer of images. Gradients go to the [parameters](Self::parameters) that the recorder watches.
    ///
    /// # Errors
    /// [`Error::Shape`] for other channels, [`Error::Config`] for a window that does not fit, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: &Images) -> Result<Images> {
        self.shape.forward(rec, x, |rec, patches| self.linear.forward(rec, patches))
    }

    /// Packs the weight for good.
    ///
    /// # Errors
    /// As [`BitLinear::deploy`].
    pub async fn deploy(self) -> Result<DeployedConv2d> {
        Ok(DeployedConv2d { linear: self.linear.deploy().await?, shape: self.shape })
    }
}

/// A convolution with a packed weight, or with a float one where that is what the layer was.
#[derive(Clone, Debug)]
pub struct DeployedConv2d {
    linear: DeployedLinear,
    shape: ConvShape,
}

impl DeployedConv2d {
    pub(super) fn with_linear(linear: DeployedLinear, shape: ConvShape) -> Self {
        Self { linear, shape }
    }

    /// Channels and window.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// The layer that each window meets.
    pub fn linear(&self) -> &DeployedLinear {
        &self.linear
    }

    /// The layer of images.
    ///
    /// # Errors
    /// As [`BitConv2d::forward`].
    pub fn forward(&self, rec: &mut Recorder, x: &Images) -> Result<Images> {
        self.shape.forward(rec, x, |rec, patches| self.linear.forward(rec, patches))
    }
}
