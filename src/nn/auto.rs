//! Networks of any kind, by what a config says.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cnn::BitCnn;
use super::cnn_config::BitCnnConfig;
use super::config::BitLinearConfig;
use super::deployed_model::DeployedModel;
use super::linear::BitLinear;
use super::mlp::{BitMlp, BitMlpConfig, Normalize};
use super::parameter::Parameter;
use super::pass::Pass;
use super::saved::{self, Saved};
use crate::device::{Device, Recorder};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::op::Activations;

/// A network as `config.json` describes it; `model_type` tells its kind.
///
/// ```
/// use bitsmith::nn::{AutoBitConfig, WeightPrecision};
/// let text = r#"{"model_type": "mlp", "layers": [4, 8, 2], "activation": "relu", "linear": {"weights": "int4"}}"#;
/// let AutoBitConfig::Mlp(mlp) = serde_json::from_str(text).unwrap() else { panic!("it says mlp") };
/// assert_eq!((mlp.layers.len(), mlp.linear.weights.to_string()), (3, "int4".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type", rename_all = "lowercase")]
pub enum AutoBitConfig {
    /// A multilayer perceptron.
    Mlp(BitMlpConfig),
    /// A convolutional network.
    Cnn(BitCnnConfig),
}

impl AutoBitConfig {
    /// How the bytes of a picture become its input, where the config says so.
    pub fn normalize(&self) -> Option<Normalize> {
        match self {
            Self::Mlp(config) => config.normalize,
            Self::Cnn(config) => config.normalize,
        }
    }

    /// What all its layers are quantized to.
    pub fn linear(&self) -> BitLinearConfig {
        match self {
            Self::Mlp(config) => config.linear,
            Self::Cnn(config) => config.linear,
        }
    }

    /// Writes it as `config.json` of a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        saved::write_config(folder, &serde_json::to_value(self).unwrap_or_default())
    }

    /// The same network for pictures whose bytes become this.
    #[must_use]
    pub fn with_normalize(self, normalize: Normalize) -> Self {
        let normalize = Some(normalize);
        match self {
            Self::Mlp(config) => Self::Mlp(BitMlpConfig { normalize, ..config }),
            Self::Cnn(config) => Self::Cnn(BitCnnConfig { normalize, ..config }),
        }
    }

    /// The same network with all its layers quantized to this.
    ///
    /// ```
    /// use bitsmith::nn::{AutoBitConfig, BitLinearConfig};
    /// let text = r#"{"model_type": "mlp", "layers": [4, 8, 2], "activation": "relu"}"#;
    /// let float: AutoBitConfig = serde_json::from_str(text).unwrap();
    /// assert_ne!(float.clone().with_linear(BitLinearConfig::default()), float);
    /// ```
    #[must_use]
    pub fn with_linear(self, linear: BitLinearConfig) -> Self {
        match self {
            Self::Mlp(config) => Self::Mlp(BitMlpConfig { linear, ..config }),
            Self::Cnn(config) => Self::Cnn(BitCnnConfig { linear, ..config }),
        }
    }
}

/// A network of any kind that trains with quantization in the loop.
///
/// ```
/// use bitsmith::nn::{AutoBitConfig, AutoBitModel};
/// use bitsmith::Device;
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path().join("mlp");
/// let text = r#"{"model_type": "mlp", "layers": [4, 8, 2], "activation": "relu"}"#;
/// let config: AutoBitConfig = serde_json::from_str(text).unwrap();
/// let model = AutoBitModel::from_config(&Device::cpu(), &config, 1)?;
/// pollster::block_on(model.save(&folder))?;
/// let read = AutoBitModel::open(&Device::cpu(), &folder)?;
/// assert_eq!(read.config(), config);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct AutoBitModel {
    device: Device,
    network: Network,
}

#[derive(Debug)]
enum Network {
    Mlp(BitMlp),
    Cnn(BitCnn),
}

impl AutoBitModel {
    /// With random weights that depend on the seed alone.
    ///
    /// # Errors
    /// [`Error::Config`] for a config that cannot be, and those of the device.
    pub fn from_config(device: &Device, config: &AutoBitConfig, seed: u32) -> Result<Self> {
        let network = match config {
            AutoBitConfig::Mlp(config) => Network::Mlp(BitMlp::new(device, config.clone(), seed)?),
            AutoBitConfig::Cnn(config) => Network::Cnn(BitCnn::new(device, config.clone(), seed)?),
        };
        Ok(Self { device: device.clone(), network })
    }

    /// With the weights of a checkpoint, whose own config may be in other terms. Tensors are found by the names of layers.
    ///
    /// # Errors
    /// [`Error::Format`] for a tensor that is missing or has another shape, and as [`Self::from_config`].
    pub fn load(device: &Device, config: &AutoBitConfig, checkpoint: &Checkpoint) -> Result<Self> {
        let network = match config {
            AutoBitConfig::Mlp(config) => Network::Mlp(BitMlp::load(device, config.clone(), checkpoint)?),
            AutoBitConfig::Cnn(config) => Network::Cnn(BitCnn::load(device, config.clone(), checkpoint)?),
        };
        Ok(Self { device: device.clone(), network })
    }

    /// Reads `config.json` and the weights of a folder.
    ///
    /// # Errors
    /// Those of reading, each naming file and tensor, and as [`Self::from_config`].
    pub fn open(device: &Device, folder: &Path) -> Result<Self> {
        let Saved { config, checkpoint, quantization } = saved::read(folder)?;
        match quantization {
            None => Self::load(device, &config, &checkpoint),
            Some(_) => Err(Error::format(folder, "the network is deployed: it can be evaluated, but not trained")),
        }
    }

    /// Writes `config.json` and `model.safetensors` with the f32 weights into a new folder, which appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Config`] if the name is taken, [`Error::Io`], and those of the device.
    pub async fn save(&self, folder: &Path) -> Result<()> {
        let tensors = saved::values(&self.device, &self.parameters()).await?;
        saved::write((folder, false), &serde_json::to_value(self.config()).unwrap_or_default(), &tensors, None)
    }

    /// Where its weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What it was built from.
    pub fn config(&self) -> AutoBitConfig {
        match &self.network {
            Network::Mlp(mlp) => AutoBitConfig::Mlp(mlp.config().clone()),
            Network::Cnn(cnn) => AutoBitConfig::Cnn(cnn.config().clone()),
        }
    }

    /// All parameters.
    pub fn parameters(&self) -> Vec<Parameter> {
        match &self.network {
            Network::Mlp(mlp) => mlp.parameters(),
            Network::Cnn(cnn) => cnn.parameters(),
        }
    }

    /// [`BitLinear::eval`](super::BitLinear::eval) of all layers.
    ///
    /// # Errors
    /// Those of the device.
    pub fn eval(&mut self) -> Result<()> {
        match &mut self.network {
            Network::Mlp(mlp) => mlp.eval(),
            Network::Cnn(cnn) => cnn.eval(),
        }
    }

    /// [`BitLinear::train`](super::BitLinear::train) of all layers.
    pub fn train(&mut self) {
        match &mut self.network {
            Network::Mlp(mlp) => mlp.train(),
            Network::Cnn(cnn) => cnn.train(),
        }
    }

    /// Has all layers train with this quantization from now on, and with an even draw over `noise` of a quantization step added
    /// to each quantized weight that depends on `seed`; biases stay. [`Self::config`] tells of the quantization that the network
    /// was built with.
    ///
    /// # Errors
    /// [`Error::Config`] for a quantization that cannot be.
    pub(crate) fn quantize(&mut self, linear: BitLinearConfig, noise: f32, mut seed: u32) -> Result<()> {
        let mut set = |layer: &mut BitLinear| {
            seed = seed.wrapping_add(0x9e37_79b9);
            layer.quantize(linear, noise, seed)
        };
        match &mut self.network {
            Network::Mlp(mlp) => mlp.linears_mut().try_for_each(&mut set),
            Network::Cnn(cnn) => cnn.linears_mut().try_for_each(&mut set),
        }
    }

    /// Logits `[rows, classes]` of `[rows, features]`. A pass of a training watches the parameters.
    ///
    /// # Errors
    /// [`Error::Shape`] if the width of `x` is another, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: &Activations, pass: Pass) -> Result<Activations> {
        match &self.network {
            Network::Mlp(mlp) => mlp.forward(rec, x, pass),
            Network::Cnn(cnn) => cnn.forward(rec, x, pass),
        }
    }

    /// Packs all weights for good.
    ///
    /// # Errors
    /// Those of [`BitLinear::deploy`](super::BitLinear::deploy).
    pub async fn deploy(self) -> Result<DeployedModel> {
        match self.network {
            Network::Mlp(mlp) => mlp.deploy().await.map(DeployedModel::Mlp),
            Network::Cnn(cnn) => cnn.deploy().await.map(DeployedModel::Cnn),
        }
    }
}
