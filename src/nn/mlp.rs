//! Linear layers one after the other, an activation function between them.

use serde::{Deserialize, Serialize};

use super::config::BitLinearConfig;
use super::deployed::DeployedMlp;
use super::linear::BitLinear;
use super::parameter::Parameter;
use super::pass::Pass;
use super::source::{Maker, Source};
use crate::activation::Activation;
use crate::device::{Device, Recorder};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::op::{self, Activations};
use crate::random::Random;

/// A multilayer perceptron. In a file, with what may be left out in the second line:
/// `{"layers": [784, 100, 10], "activation": "sigmoid",
/// "dropout": 0.1, "linear": {"weights": "ternary"}, "normalize": {"scale": 0.0039, "mean": 0.13, "std": 0.31}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BitMlpConfig {
    /// Features of the input, of what is between layers, and of the output: one more than there are layers.
    pub layers: Vec<usize>,
    /// What is between layers.
    pub activation: Activation,
    /// Share of the activations between layers that a training drops.
    #[serde(default)]
    pub dropout: f32,
    /// What all layers are quantized to; without it they are float.
    #[serde(default = "BitLinearConfig::float")]
    pub linear: BitLinearConfig,
    /// How the bytes of a picture become its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
}

/// From bytes to numbers: `(byte * scale - mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalize {
    /// Factor of a byte.
    pub scale: f64,
    /// Taken away after that.
    pub mean: f64,
    /// Divided by at last.
    pub std: f64,
}

impl Default for Normalize {
    /// From 0 to 1.
    fn default() -> Self {
        Self { scale: 1.0 / 255.0, mean: 0.0, std: 1.0 }
    }
}

impl Normalize {
    /// The number of each byte.
    ///
    /// ```
    /// use bitsmith::nn::Normalize;
    /// let normalize = Normalize { scale: 1.0 / 255.0, mean: 0.5, std: 0.25 };
    /// assert_eq!(normalize.apply(&[0, 255]), [-2.0, 2.0]);
    /// ```
    #[allow(clippy::cast_possible_truncation, reason = "computed in f64, kept as f32")]
    pub fn apply(&self, bytes: &[u8]) -> Vec<f32> {
        let numbers: [f32; 256] =
            std::array::from_fn(|byte| ((byte as f64 * self.scale - self.mean) / self.std) as f32);
        bytes.iter().map(|byte| numbers[usize::from(*byte)]).collect()
    }
}

/// A multilayer perceptron whose layers train with quantization in the loop. Its tensors are `fc1.weight`, `fc1.bias`,
/// `fc2.weight` and so on.
///
/// ```
/// use bitsmith::nn::{BitLinearConfig, BitMlp, BitMlpConfig, Optimiser, Pass};
/// use bitsmith::op::{self, Activations, AdamWConfig};
/// use bitsmith::{Activation, Device, Recorder};
/// let device = Device::cpu();
/// let linear = BitLinearConfig::default();
/// let config =
///     BitMlpConfig { layers: vec![4, 16, 2], activation: Activation::Relu, dropout: 0.1, linear, normalize: None };
/// let model = BitMlp::new(&device, config, 1)?;
/// let mut optimiser = Optimiser::new(&device, model.parameters(), AdamWConfig::default())?;
/// let x = Activations::upload(&device, 2, 4, &[1.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0, 0.5])?;
/// let mut losses = Vec::new();
/// for step in 0..50 {
///     let mut rec = Recorder::new(&device);
///     let logits = model.forward(&mut rec, &x, Pass::Train { seed: 1, step })?;
///     let loss = op::cross_entropy(&mut rec, &logits, &[0, 1], 2)?;
///     let gradients = op::backward(&mut rec, &logits, &loss.gradient)?;
///     optimiser.step(&mut rec, &gradients, 0.01)?;
///     losses.push(pollster::block_on(rec.submit_and_read::<f32>(&loss.losses.buffer))?.iter().sum::<f32>());
/// }
/// assert!(losses[49] < 0.5 * losses[0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct BitMlp {
    config: BitMlpConfig,
    layers: Vec<BitLinear>,
}

impl BitMlp {
    /// With random weights that depend on the seed alone.
    ///
    /// # Errors
    /// [`Error::Config`] for a config that cannot be, and those of the device.
    pub fn new(device: &Device, config: BitMlpConfig, seed: u32) -> Result<Self> {
        let layers = build(device, &config, &mut Source::Random(Random::new(seed)))?;
        Ok(Self { config, layers })
    }

    /// With the weights of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Format`] for a tensor that is missing or has another shape, [`Error::Config`] for a config that cannot be, and
    /// those of the device.
    pub fn load(device: &Device, config: BitMlpConfig, checkpoint: &Checkpoint) -> Result<Self> {
        let layers = build(device, &config, &mut Source::Checkpoint(checkpoint))?;
        Ok(Self { config, layers })
    }

    /// What it was built from.
    pub fn config(&self) -> &BitMlpConfig {
        &self.config
    }

    /// The layers in order.
    pub fn layers(&self) -> &[BitLinear] {
        &self.layers
    }

    pub(super) fn linears_mut(&mut self) -> impl Iterator<Item = &mut BitLinear> {
        self.layers.iter_mut()
    }

    /// All parameters, in the order of the layers.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.layers.iter().flat_map(BitLinear::parameters).collect()
    }

    /// [`BitLinear::eval`] of all layers.
    ///
    /// # Errors
    /// Those of the device.
    pub fn eval(&mut self) -> Result<()> {
        self.layers.iter_mut().try_for_each(BitLinear::eval)
    }

    /// [`BitLinear::train`] of all layers.
    pub fn train(&mut self) {
        self.layers.iter_mut().for_each(BitLinear::train);
    }

    /// Logits `[rows, classes]` of `[rows, features]`. A pass of a training watches the parameters.
    ///
    /// # Errors
    /// [`Error::Shape`] if the width of `x` is another, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: &Activations, pass: Pass) -> Result<Activations> {
        if let Pass::Train { .. } = pass {
            self.parameters().iter().for_each(|parameter| rec.watch(&parameter.buffer));
        }
        let mut x = x.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(rec, &x)?;
            if index + 1 < self.layers.len() {
                x = op::activate(rec, self.config.activation, &x)?;
                if let Some(seed) = pass.seed_of(index) {
                    x = op::dropout(rec, &x, self.config.dropout, seed)?;
                }
            }
        }
        Ok(x)
    }

    /// Packs all weights for good.
    ///
    /// # Errors
    /// Those of [`BitLinear::deploy`].
    pub async fn deploy(self) -> Result<DeployedMlp> {
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in self.layers {
            layers.push(layer.deploy().await?);
        }
        Ok(DeployedMlp { config: self.config, layers })
    }
}

/// The layers of a config.
pub(super) fn build<M: Maker>(device: &Device, config: &BitMlpConfig, source: &mut M) -> Result<Vec<M::Linear>> {
    if config.layers.len() < 2 {
        return Err(Error::config("layers", "give at least the features of the input and of the output"));
    }
    if !(0.0..1.0).contains(&config.dropout) {
        return Err(Error::config("dropout", format!("{} is not at least 0 and below 1", config.dropout)));
    }
    let widths = config.layers.windows(2).enumerate();
    widths
        .map(|(i, width)| source.layer(device, &format!("fc{}", i + 1), &[width[1], width[0]], config.linear))
        .collect()
}
