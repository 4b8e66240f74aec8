//! Where the layers of a network come from.

use super::config::BitLinearConfig;
use super::conv::{BitConv2d, ConvShape, DeployedConv2d};
use super::deployed::DeployedLinear;
use super::linear::BitLinear;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::export::Importer;
use crate::io::Checkpoint;
use crate::pack::PackedTensor;
use crate::random::Random;
use crate::tensor::Tensor;

/// Makes layers of one kind.
pub(super) trait Maker {
    type Linear;
    type Conv;

    /// A layer whose weight `{name}.weight` has this shape, seen as a matrix of its first axis by all others.
    fn layer(&mut self, device: &Device, name: &str, shape: &[usize], config: BitLinearConfig) -> Result<Self::Linear>;

    /// The convolution whose windows meet a layer.
    fn conv(linear: Self::Linear, shape: ConvShape) -> Self::Conv;

    /// A vector, of one number over and over where there is no checkpoint.
    fn vector(&self, name: &str, len: usize, otherwise: f32) -> Result<Vec<f32>>;
}

/// Layers that train: of random numbers, or of the tensors of a checkpoint.
#[derive(Debug)]
pub(super) enum Source<'a> {
    Random(Random),
    Checkpoint(&'a Checkpoint),
}

impl Maker for Source<'_> {
    type Linear = BitLinear;
    type Conv = BitConv2d;

    fn layer(&mut self, device: &Device, name: &str, shape: &[usize], config: BitLinearConfig) -> Result<BitLinear> {
        match self {
            Self::Random(random) => BitLinear::new(device, name, cols(shape), shape[0], config, random),
            Self::Checkpoint(checkpoint) => {
                let weight = tensor(checkpoint, &format!("{name}.weight"), shape)?;
                BitLinear::from_values(device, name, &weight, bias(checkpoint, name, shape, config)?.as_deref(), config)
            }
        }
    }

    fn conv(linear: BitLinear, shape: ConvShape) -> BitConv2d {
        BitConv2d::with_linear(linear, shape)
    }

    fn vector(&self, name: &str, len: usize, otherwise: f32) -> Result<Vec<f32>> {
        match self {
            Self::Random(_) => Ok(vec![otherwise; len]),
            Self::Checkpoint(checkpoint) => Ok(tensor(checkpoint, name, &[len])?.to_f32()),
        }
    }
}

/// Layers with packed weights.
#[derive(Debug)]
pub(super) struct Packed<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) importer: Box<dyn Importer>,
}

impl Maker for Packed<'_> {
    type Linear = DeployedLinear;
    type Conv = DeployedConv2d;

    fn layer(
        &mut self,
        device: &Device,
        name: &str,
        shape: &[usize],
        config: BitLinearConfig,
    ) -> Result<DeployedLinear> {
        let wrong = |detail: String| Error::format(self.checkpoint.paths().next().unwrap_or(name.as_ref()), detail);
        let bias = bias(self.checkpoint, name, shape, config)?;
        let Some(scheme) = config.scheme() else {
            return Err(wrong(format!("{name} is packed, but config.json says that its weights are float")));
        };
        let weight = self.importer.decode(name, self.checkpoint)?;
        if [weight.rows, weight.cols] != [shape[0], cols(shape)]
            || weight.scheme.carrier() != scheme.carrier().with_scale_type(weight.scheme.scale_type())
        {
            let found = format!("{} of [{}, {}]", weight.scheme, weight.rows, weight.cols);
            return Err(wrong(format!("{name} is {found}, but config.json asks for {scheme} of {shape:?}")));
        }
        // The format knows no three levels.
        DeployedLinear::packed_from(device, name, config, &PackedTensor { scheme, ..weight }, bias.as_deref())
    }

    fn conv(linear: DeployedLinear, shape: ConvShape) -> DeployedConv2d {
        DeployedConv2d::with_linear(linear, shape)
    }

    fn vector(&self, name: &str, len: usize, _: f32) -> Result<Vec<f32>> {
        Ok(tensor(self.checkpoint, name, &[len])?.to_f32())
    }
}

/// All axes but the first.
fn cols(shape: &[usize]) -> usize {
    shape[1..].iter().fold(1usize, |n, extent| n.saturating_mul(*extent))
}

fn bias(checkpoint: &Checkpoint, name: &str, shape: &[usize], config: BitLinearConfig) -> Result<Option<Vec<f32>>> {
    let read = || Ok(tensor(checkpoint, &format!("{name}.bias"), &shape[..1])?.to_f32());
    config.bias.then(read).transpose()
}

fn tensor<'a>(checkpoint: &'a Checkpoint, name: &str, shape: &[usize]) -> Result<Tensor<'a>> {
    let tensor = checkpoint.tensor(name)?;
    if tensor.shape() == shape {
        return Ok(tensor);
    }
    let detail = format!("{name} has shape {:?}, but config.json asks for {shape:?}", tensor.shape());
    Err(Error::format(checkpoint.path_of(name).unwrap_or_else(|| name.as_ref()), detail))
}
