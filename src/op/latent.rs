//! A weight in full precision that is used as if it were quantized.

use super::int8::int8_block;
use super::straight_through::{fake_int8, noisy_weight, pack_weight};
use super::weight::{DenseWeight, GroupWeight};
use super::{Activations, LayerInput, dense};
use crate::device::{Device, Recorder};
use crate::error::{Error, Result};
use crate::scheme::{Scheme, Span};
use crate::tensor::Tensor;

/// A `[rows, cols]` weight in f32 that trains, and what it and the activations that meet it become on the way: both are
/// quantized and decoded again, with gradients straight through. Without a scheme it is a plain float weight.
///
/// ```
/// use bitsmith::op::{self, Activations, LatentWeight, LayerInput};
/// use bitsmith::{Device, Recorder, Tensor};
/// let device = Device::cpu();
/// let tensor = Tensor::from_f32(vec![1, 4], &[-3.0, 0.4, 1.6, 3.0])?;
/// let weight = LatentWeight::upload(&device, &tensor, Some("w1.58cs-f32".parse()?), LayerInput::Tokens)?;
/// let x = Activations::upload(&device, 1, 4, &[127.0, 9.0, 1.4, 1.6])?;
/// let mut rec = Recorder::new(&device);
/// rec.watch(&weight.values().buffer);
/// let y = weight.apply(&mut rec, &x)?;
/// let d_y = Activations::upload(&device, 1, 1, &[1.0])?;
/// let gradients = op::backward(&mut rec, &y, &d_y)?;
/// rec.submit()?;
/// // 2.000001 * (-127 + 1 + 2)
/// assert!((pollster::block_on(y.read(&device))?[0] + 248.0).abs() < 1e-3);
/// let d_w = gradients.of(&weight.values().buffer).expect("the weight is watched");
/// assert_eq!(pollster::block_on(device.read::<f32>(d_w))?, [127.0, 9.0, 1.0, 2.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LatentWeight {
    values: Activations,
    scheme: Option<Scheme>,
    input: LayerInput,
    /// Features of an activation that share a scale, if it is quantized.
    block: Option<usize>,
    /// Noise in shares of a quantization step, and what it depends on.
    noise: (f32, u32),
}

impl LatentWeight {
    /// Of values that are on a device. The scheme is symmetric with f32 scales.
    ///
    /// # Errors
    /// [`Error::Config`] for int8 activations beside a float weight, with a scale for each token beside several groups a row,
    /// or with zero points or outliers apart.
    pub fn new(values: Activations, scheme: Option<Scheme>, input: LayerInput) -> Result<Self> {
        let refuse = |detail: &str| Err(Error::config("activations", detail));
        let block = match (&input, scheme.map(Scheme::span)) {
            (LayerInput::Exact, _) => None,
            (_, None) => return refuse("int8 is for quantized weights; these are float"),
            (LayerInput::Tokens, Some(Span::Group(size))) if usize::from(size) < values.cols => {
                return refuse(
                    "int8 with a scale for each token needs weights with a scale for each channel or tensor",
                );
            }
            (LayerInput::Tokens, Some(_)) => Some(values.cols),
            (LayerInput::Blocks, Some(span)) => Some(int8_block(span, values.cols)),
            (
                LayerInput::TokensAsymmetric
                | LayerInput::Static { .. }
                | LayerInput::Outliers { .. }
                | LayerInput::Ordered { .. },
                Some(_),
            ) => {
                return refuse("training takes int8 without zero points or outliers: blocks or tokens");
            }
        };
        Ok(Self { values, scheme, input, block, noise: (0.0, 0) })
    }

    /// With an even draw over `share` of a quantization step, around 0, added to each quantized weight whenever it is used; it
    /// depends on `seed` and the weight's position alone. [`Self::pack`] knows nothing of it.
    #[must_use]
    pub fn with_noise(self, share: f32, seed: u32) -> Self {
        Self { noise: (share, seed), ..self }
    }

    /// Uploads a tensor of any float type as f32, seen as a matrix of its first axis by all others.
    ///
    /// # Errors
    /// As [`Self::new`], and those of the device.
    pub fn upload(device: &Device, tensor: &Tensor<'_>, scheme: Option<Scheme>, input: LayerInput) -> Result<Self> {
        let values = Activations::upload(device, tensor.rows(), tensor.cols(), &tensor.to_f32())?;
        Self::new(values, scheme, input)
    }

    /// The values that train, f32 `[rows, cols]`.
    pub fn values(&self) -> &Activations {
        &self.values
    }

    /// What its codes mean; none for a float weight.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    /// What activations become that meet it.
    pub fn input(&self) -> &LayerInput {
        &self.input
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.values.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.values.cols
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.values.buffer.bytes()
    }

    /// `x W^T` of `[tokens, cols]`, both as they come back from quantization; gradients go to `x` and to [`Self::values`], as
    /// far as they are watched.
    ///
    /// # Errors
    /// [`Error::Shape`] if the width of `x` is another, and those of the device.
    pub fn apply(&self, rec: &mut Recorder, x: &Activations) -> Result<Activations> {
        let Some(scheme) = self.scheme else {
            return dense(rec, x, &DenseWeight::from_values(self.values.clone())?);
        };
        let weight = DenseWeight::from_values(noisy_weight(rec, &self.values, scheme, self.noise)?)?;
        let Some(block) = self.block else { return dense(rec, x, &weight) };
        let x = fake_int8(rec, x, block)?;
        dense(rec, &x, &weight)
    }

    /// The codes that [`Self::apply`] computes with, packed on the device; none for a float weight.
    ///
    /// # Errors
    /// Those of the device.
    pub fn pack(&self, rec: &mut Recorder) -> Result<Option<GroupWeight>> {
        self.scheme.map(|scheme| pack_weight(rec, &self.values, scheme)).transpose()
    }
}
