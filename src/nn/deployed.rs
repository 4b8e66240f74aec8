//! What is left of a network once it is deployed: packed weights.

use super::config::BitLinearConfig;
use super::mlp::{BitMlpConfig, build};
use super::parameter::Parameter;
use super::selected::{SelectedKernel, of_layer};
use super::source::Packed;
use crate::device::{Buffer, Device, Recorder};
use crate::error::Result;
use crate::export::LayerSpec;
use crate::op::{self, Activations, DenseWeight, GroupWeight, LatentWeight, LayerInput};
use crate::pack::PackedTensor;

/// A linear layer with a packed weight, or with a float one where that is what the layer was. It has no way back to
/// training; [`BitLinear::deploy`](super::BitLinear::deploy) makes it.
#[derive(Clone, Debug)]
pub struct DeployedLinear {
    name: String,
    device: Device,
    config: BitLinearConfig,
    weight: Weight,
    bias: Option<Buffer>,
}

#[derive(Clone, Debug)]
enum Weight {
    Float(DenseWeight),
    Packed(GroupWeight, LayerInput),
}

impl DeployedLinear {
    pub(super) fn new(
        device: &Device,
        name: &str,
        config: BitLinearConfig,
        weight: LatentWeight,
        packed: Option<GroupWeight>,
        bias: Option<Buffer>,
    ) -> Result<Self> {
        let weight = match packed {
            Some(packed) => Weight::Packed(packed, weight.input().clone()),
            None => Weight::Float(DenseWeight::from_values(weight.values().clone())?),
        };
        Ok(Self { name: name.to_owned(), device: device.clone(), config, weight, bias })
    }

    /// With codes that were packed before.
    pub(super) fn packed_from(
        device: &Device,
        name: &str,
        config: BitLinearConfig,
        packed: &PackedTensor,
        bias: Option<&[f32]>,
    ) -> Result<Self> {
        let weight = Weight::Packed(config.input().upload(device, packed)?, config.input());
        let bias = bias.map(|bias| device.upload(bias)).transpose()?;
        Ok(Self { name: name.to_owned(), device: device.clone(), config, weight, bias })
    }

    /// Module path, such as `fc1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bias, f32.
    pub(super) fn bias(&self) -> Option<Parameter> {
        let (name, shape) = (format!("{}.bias", self.name), vec![self.out_features()]);
        self.bias.clone().map(|buffer| Parameter { name, shape, buffer })
    }

    /// Where its weights are.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// What its weight is in a file.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) async fn layer(&self) -> Result<Option<(LayerSpec, PackedTensor)>> {
        let packed = self.packed().await?;
        Ok(packed.map(|packed| (LayerSpec::of(&self.name, &packed).with_input(self.config.input()), packed)))
    }

    /// Input features.
    pub fn in_features(&self) -> usize {
        match &self.weight {
            Weight::Float(weight) => weight.cols(),
            Weight::Packed(weight, _) => weight.cols(),
        }
    }

    /// Output features.
    pub fn out_features(&self) -> usize {
        match &self.weight {
            Weight::Float(weight) => weight.rows(),
            Weight::Packed(weight, _) => weight.rows(),
        }
    }

    /// Bytes that codes and scales of the weight take on the device.
    pub fn weight_bytes(&self) -> usize {
        match &self.weight {
            Weight::Float(weight) => weight.bytes(),
            Weight::Packed(weight, _) => weight.bytes(),
        }
    }

    /// The codes and scales, read back; none of a float weight.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn packed(&self) -> Result<Option<PackedTensor>> {
        match &self.weight {
            Weight::Float(_) => Ok(None),
            Weight::Packed(weight, _) => weight.read(&self.device).await.map(Some),
        }
    }

    /// The layer of `[tokens, in_features]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the width of `x` is another, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: &Activations) -> Result<Activations> {
        let weight = match &self.weight {
            Weight::Float(weight) => weight,
            Weight::Packed(weight, input) => return input.apply_with_bias(rec, x, weight, self.bias.as_ref()),
        };
        let y = op::dense(rec, x, weight)?;
        if let Some(bias) = &self.bias {
            op::add_bias(rec, &y, bias)?;
        }
        Ok(y)
    }

    /// Which kernel computes the product with `tokens` rows, and why.
    ///
    /// # Errors
    /// Those of recording.
    pub fn selected_kernel(&self, tokens: usize) -> Result<SelectedKernel> {
        of_layer(&self.device, &self.config, false, tokens, self.in_features(), |rec, x| self.forward(rec, x))
    }
}

/// A [`BitMlp`](super::BitMlp) with packed weights.
#[derive(Clone, Debug)]
pub struct DeployedMlp {
    pub(super) config: BitMlpConfig,
    pub(super) layers: Vec<DeployedLinear>,
}

impl DeployedMlp {
    /// With the packed weights of a folder.
    pub(super) fn load(device: &Device, config: BitMlpConfig, packed: &mut Packed<'_>) -> Result<Self> {
        let layers = build(device, &config, packed)?;
        Ok(Self { config, layers })
    }

    /// What it was built from.
    pub fn config(&self) -> &BitMlpConfig {
        &self.config
    }

    /// The layers in order.
    pub fn layers(&self) -> &[DeployedLinear] {
        &self.layers
    }

    /// Logits `[rows, classes]` of `[rows, features]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the width of `x` is another, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: &Activations) -> Result<Activations> {
        let mut x = x.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(rec, &x)?;
            if index + 1 < self.layers.len() {
                x = op::activate(rec, self.config.activation, &x)?;
            }
        }
        Ok(x)
    }

    /// Bytes of all weights on the device.
    pub fn weight_bytes(&self) -> usize {
        self.layers.iter().map(DeployedLinear::weight_bytes).sum()
    }
}
