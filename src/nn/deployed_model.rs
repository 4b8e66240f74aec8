//! Networks of any kind with packed weights, and their folders.

use std::path::Path;

use super::auto::{AutoBitConfig, AutoBitModel};
use super::cnn::DeployedCnn;
use super::deployed::{DeployedLinear, DeployedMlp};
use super::parameter::Parameter;
use super::saved::{self, Saved};
use super::source::Packed;
use crate::device::{Device, Recorder};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::{self, Exporter, compressed_tensors::CompressedTensors};
use crate::op::Activations;

/// A network with packed weights.
///
/// Its folder holds `config.json`, that of the network with a `quantization_config` of compressed-tensors in it, and
/// `model.safetensors` with the packed layers in the terms of that format; a convolution is the matrix of its windows. Biases
/// and batch norms are f32.
///
/// ```
/// use bitsmith::nn::{AutoBitConfig, AutoBitModel, DeployedModel};
/// use bitsmith::Device;
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path().join("mlp");
/// let text = r#"{"model_type": "mlp", "layers": [4, 8, 2], "activation": "relu", "linear": {"weights": "ternary"}}"#;
/// let config: AutoBitConfig = serde_json::from_str(text).unwrap();
/// let device = Device::cpu();
/// let deployed = pollster::block_on(AutoBitModel::from_config(&device, &config, 1)?.deploy())?;
/// pollster::block_on(deployed.save(&folder))?;
/// let read = pollster::block_on(DeployedModel::open(&device, &folder))?;
/// assert_eq!((read.config(), read.weight_bytes()), (config, deployed.weight_bytes()));
/// assert!(AutoBitModel::open(&device, &folder).is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum DeployedModel {
    /// A multilayer perceptron.
    Mlp(DeployedMlp),
    /// A convolutional network.
    Cnn(DeployedCnn),
}

impl DeployedModel {
    /// Reads a folder: a deployed network, or one that trains, which is deployed then.
    ///
    /// # Errors
    /// Those of reading, each naming file and tensor, of [`AutoBitModel::deploy`], and of the device.
    pub async fn open(device: &Device, folder: &Path) -> Result<Self> {
        let Saved { config, checkpoint, quantization } = saved::read(folder)?;
        let Some(quantization) = quantization else {
            return AutoBitModel::load(device, &config, &checkpoint)?.deploy().await;
        };
        let mut packed = Packed { checkpoint: &checkpoint, importer: export::importer(&quantization, folder)? };
        Ok(match config {
            AutoBitConfig::Mlp(config) => Self::Mlp(DeployedMlp::load(device, config, &mut packed)?),
            AutoBitConfig::Cnn(config) => Self::Cnn(DeployedCnn::load(device, config, &mut packed)?),
        })
    }

    /// Writes a new folder, which appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Config`] if the name is taken, [`Error::Unsupported`] for float layers, which [`AutoBitModel::save`] writes, and
    /// for those that the format cannot hold, [`Error::Io`], and those of the device.
    pub async fn save(&self, folder: &Path) -> Result<()> {
        self.write(folder, false, None).await
    }

    /// [`Self::save`], over a folder that is there if `force` says so, and with another file in it.
    pub(crate) async fn write(&self, folder: &Path, force: bool, file: Option<(&str, &[u8])>) -> Result<()> {
        let (mut layers, mut tensors) = (Vec::new(), Vec::new());
        let mut parameters = self.norms();
        for linear in self.linears() {
            parameters.extend(linear.bias());
            let Some((layer, packed)) = linear.layer().await? else {
                let what = format!("saving {}, whose weights are float, as a deployed layer", linear.name());
                return Err(Error::Unsupported { what, remedy: "save the network before it is deployed".into() });
            };
            let specs = CompressedTensors.tensors(&layer, Dtype::F32)?;
            let encoded = CompressedTensors.encode(&layer, &packed, Dtype::F32)?;
            tensors.extend(specs.into_iter().zip(encoded).map(|(spec, (_, bytes))| (spec, bytes)));
            layers.push(layer);
        }
        if let Some(first) = self.linears().first() {
            tensors.extend(saved::values(first.device(), &parameters).await?);
        }
        let mut config = serde_json::to_value(self.config()).unwrap_or_default();
        config[saved::QUANTIZATION] = CompressedTensors.config(&layers, &[])?;
        saved::write((folder, force), &config, &tensors, file)
    }

    /// What it was built from.
    pub fn config(&self) -> AutoBitConfig {
        match self {
            Self::Mlp(mlp) => AutoBitConfig::Mlp(mlp.config().clone()),
            Self::Cnn(cnn) => AutoBitConfig::Cnn(cnn.config().clone()),
        }
    }

    fn linears(&self) -> Vec<&DeployedLinear> {
        match self {
            Self::Mlp(mlp) => mlp.layers().iter().collect(),
            Self::Cnn(cnn) => cnn.linears().collect(),
        }
    }

    fn norms(&self) -> Vec<Parameter> {
        match self {
            Self::Mlp(_) => Vec::new(),
            Self::Cnn(cnn) => cnn.parameters(),
        }
    }

    /// Logits `[rows, classes]` of `[rows, features]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the width of `x` is another, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: &Activations) -> Result<Activations> {
        match self {
            Self::Mlp(mlp) => mlp.forward(rec, x),
            Self::Cnn(cnn) => cnn.forward(rec, x),
        }
    }

    /// Bytes of all weights on the device.
    pub fn weight_bytes(&self) -> usize {
        match self {
            Self::Mlp(mlp) => mlp.weight_bytes(),
            Self::Cnn(cnn) => cnn.weight_bytes(),
        }
    }
}
