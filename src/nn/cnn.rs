//! Convolutions, pools and linear layers one after the other.

use super::cnn_config::BitCnnConfig;
use super::cnn_layer::{Layer, build, forward};
use super::conv::{BitConv2d, DeployedConv2d};
use super::deployed::DeployedLinear;
use super::linear::BitLinear;
use super::parameter::Parameter;
use super::pass::Pass;
use super::source::{Packed, Source};
use crate::device::{Device, Recorder};
use crate::error::Result;
use crate::io::Checkpoint;
use crate::op::Activations;
use crate::random::Random;

/// A convolutional network whose layers train with quantization in the loop. Its tensors have the names that the config gives
/// its layers.
///
/// ```
/// use bitsmith::nn::{BitCnn, BitCnnConfig, Pass};
/// use bitsmith::op::Activations;
/// use bitsmith::{Device, Recorder};
/// let config: BitCnnConfig = serde_json::from_str(r#"{
///     "image": {"channels": 1, "height": 8, "width": 8},
///     "layers": [
///         {"layer": "conv2d", "name": "conv1", "channels": 4, "kernel": 3},
///         {"layer": "activation", "function": "relu"},
///         {"layer": "max_pool2d", "kernel": 2},
///         {"layer": "flatten"},
///         {"layer": "linear", "name": "fc1", "features": 10}
///     ],
///     "linear": {"weights": "int8", "granularity": "channel"}
/// }"#).unwrap();
/// let device = Device::cpu();
/// let model = BitCnn::new(&device, config, 1)?;
/// let mut rec = Recorder::new(&device);
/// let x = Activations::upload(&device, 2, 64, &[0.5; 128])?;
/// let logits = model.forward(&mut rec, &x, Pass::Eval)?;
/// rec.submit()?;
/// assert_eq!((logits.rows, logits.cols), (2, 10));
/// let names: Vec<_> = model.parameters().into_iter().map(|parameter| parameter.name).collect();
/// assert_eq!(names, ["conv1.weight", "conv1.bias", "fc1.weight", "fc1.bias"]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct BitCnn {
    config: BitCnnConfig,
    layers: Vec<Layer<BitConv2d, BitLinear>>,
}

impl BitCnn {
    /// With random weights that depend on the seed alone.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a config that cannot be, naming the layer, and those of the device.
    pub fn new(device: &Device, config: BitCnnConfig, seed: u32) -> Result<Self> {
        let layers = build(device, &config, &mut Source::Random(Random::new(seed)))?;
        Ok(Self { config, layers })
    }

    /// With the weights of a checkpoint: of a convolution `{name}.weight` `[channels, channels of the input, kernel, kernel]`
    /// and `{name}.bias`, of a linear layer `{name}.weight` `[features, features of the input]` and `{name}.bias`, of a batch
    /// norm `weight`, `bias`, `running_mean` and `running_var`. Other tensors are left alone.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) for a tensor that is missing or has another shape, and as [`Self::new`].
    pub fn load(device: &Device, config: BitCnnConfig, checkpoint: &Checkpoint) -> Result<Self> {
        let layers = build(device, &config, &mut Source::Checkpoint(checkpoint))?;
        Ok(Self { config, layers })
    }

    /// What it was built from.
    pub fn config(&self) -> &BitCnnConfig {
        &self.config
    }

    /// All tensors, in the order of the layers. Those of a batch norm are among them; they have no gradient.
    pub fn parameters(&self) -> Vec<Parameter> {
        let parameters = |layer: &Layer<BitConv2d, BitLinear>| match layer {
            Layer::Conv(conv) => conv.parameters(),
            Layer::Linear(linear) => linear.parameters(),
            Layer::Norm(norm) => norm.parameters().collect(),
            Layer::MaxPool(_) | Layer::AvgPool(_) | Layer::Activation(_) | Layer::Dropout(_) | Layer::Flatten => vec![],
        };
        self.layers.iter().flat_map(parameters).collect()
    }

    /// What computes products, in order.
    pub(super) fn linears_mut(&mut self) -> impl Iterator<Item = &mut BitLinear> {
        self.layers.iter_mut().filter_map(|layer| match layer {
            Layer::Conv(conv) => Some(conv.linear_mut()),
            Layer::Linear(linear) => Some(linear),
            _ => None,
        })
    }

    /// [`BitLinear::eval`] of all layers.
    ///
    /// # Errors
    /// Those of the device.
    pub fn eval(&mut self) -> Result<()> {
        self.layers.iter_mut().try_for_each(|layer| match layer {
            Layer::Conv(conv) => conv.eval(),
            Layer::Linear(linear) => linear.eval(),
            _ => Ok(()),
        })
    }

    /// [`BitLinear::train`] of all layers.
    pub fn train(&mut self) {
        self.layers.iter_mut().for_each(|layer| match layer {
            Layer::Conv(conv) => conv.train(),
            Layer::Linear(linear) => linear.train(),
            _ => {}
        });
    }

    /// Logits `[images, classes]` of `[images, channels * height * width]`. A pass of a training watches the parameters.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the width of `x` is another, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: &Activations, pass: Pass) -> Result<Activations> {
        if let Pass::Train { .. } = pass {
            self.parameters().iter().for_each(|parameter| rec.watch(&parameter.buffer));
        }
        let (conv, linear) = (BitConv2d::forward, BitLinear::forward);
        forward(&self.layers, self.config.image, rec, x, pass, conv, linear)
    }

    /// Packs all weights for good.
    ///
    /// # Errors
    /// Those of [`BitLinear::deploy`].
    pub async fn deploy(self) -> Result<DeployedCnn> {
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in self.layers {
            layers.push(match layer {
                Layer::Conv(conv) => Layer::Conv(conv.deploy().await?),
                Layer::Linear(linear) => Layer::Linear(linear.deploy().await?),
                Layer::Norm(norm) => Layer::Norm(norm),
                Layer::MaxPool(window) => Layer::MaxPool(window),
                Layer::AvgPool(window) => Layer::AvgPool(window),
                Layer::Activation(activation) => Layer::Activation(activation),
                Layer::Dropout(rate) => Layer::Dropout(rate),
                Layer::Flatten => Layer::Flatten,
            });
        }
        Ok(DeployedCnn { layers, config: self.config })
    }
}

/// A [`BitCnn`] with packed weights.
#[derive(Clone, Debug)]
pub struct DeployedCnn {
    config: BitCnnConfig,
    layers: Vec<Layer<DeployedConv2d, DeployedLinear>>,
}

impl DeployedCnn {
    /// With the packed weights of a folder.
    pub(super) fn load(device: &Device, config: BitCnnConfig, packed: &mut Packed<'_>) -> Result<Self> {
        let layers = build(device, &config, packed)?;
        Ok(Self { config, layers })
    }

    /// What it was built from.
    pub fn config(&self) -> &BitCnnConfig {
        &self.config
    }

    /// The tensors of batch norms.
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let parameters = |layer: &Layer<DeployedConv2d, DeployedLinear>| match layer {
            Layer::Norm(norm) => norm.parameters().collect(),
            _ => vec![],
        };
        self.layers.iter().flat_map(parameters).collect()
    }

    /// Logits `[images, classes]` of `[images, channels * height * width]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the width of `x` is another, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: &Activations) -> Result<Activations> {
        let (conv, linear) = (DeployedConv2d::forward, DeployedLinear::forward);
        forward(&self.layers, self.config.image, rec, x, Pass::Eval, conv, linear)
    }

    /// What computes products: the linear layers, and those that windows meet, in order.
    pub fn linears(&self) -> impl Iterator<Item = &DeployedLinear> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::Conv(conv) => Some(conv.linear()),
            Layer::Linear(linear) => Some(linear),
            _ => None,
        })
    }

    /// Bytes of all weights on the device.
    pub fn weight_bytes(&self) -> usize {
        self.linears().map(DeployedLinear::weight_bytes).sum()
    }
}
