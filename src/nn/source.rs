//! Where the first weights of a network come from.

use super::config::BitLinearConfig;
use super::linear::BitLinear;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::random::Random;
use crate::tensor::Tensor;

/// Random numbers, or the tensors of a checkpoint.
#[derive(Debug)]
pub(super) enum Source<'a> {
    Random(Random),
    Checkpoint(&'a Checkpoint),
}

impl Source<'_> {
    /// A layer whose weight `{name}.weight` has this shape, seen as a matrix of its first axis by all others.
    pub(super) fn layer(
        &mut self,
        device: &Device,
        name: &str,
        shape: &[usize],
        config: BitLinearConfig,
    ) -> Result<BitLinear> {
        match self {
            Self::Random(random) => {
                let cols = shape[1..].iter().fold(1usize, |n, extent| n.saturating_mul(*extent));
                BitLinear::new(device, name, cols, shape[0], config, random)
            }
            Self::Checkpoint(checkpoint) => {
                let weight = tensor(checkpoint, &format!("{name}.weight"), shape)?;
                let bias = config.bias.then(|| tensor(checkpoint, &format!("{name}.bias"), &shape[..1])).transpose()?;
                BitLinear::from_values(device, name, &weight, bias.map(|b| b.to_f32()).as_deref(), config)
            }
        }
    }

    /// A vector, of one number over and over where there is no checkpoint.
    pub(super) fn vector(&self, name: &str, len: usize, otherwise: f32) -> Result<Vec<f32>> {
        match self {
            Self::Random(_) => Ok(vec![otherwise; len]),
            Self::Checkpoint(checkpoint) => Ok(tensor(checkpoint, name, &[len])?.to_f32()),
        }
    }
}

fn tensor<'a>(checkpoint: &'a Checkpoint, name: &str, shape: &[usize]) -> Result<Tensor<'a>> {
    let tensor = checkpoint.tensor(name)?;
    if tensor.shape() == shape {
        return Ok(tensor);
    }
    let detail = format!("{name} has shape {:?}, but config.json asks for {shape:?}", tensor.shape());
    Err(Error::format(checkpoint.path_of(name).unwrap_or_else(|| name.as_ref()), detail))
}
