//! Layer normalization with its weights.

use super::loader::Loader;
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::io::ModelConfig;
use crate::op::{self, Activations};

#[derive(Debug)]
pub(super) struct LayerNorm {
    weight: Buffer,
    bias: Buffer,
    eps: f32,
}

impl LayerNorm {
    /// The norm at `path`, of rows of `hidden_size`.
    pub(super) fn load(loader: &Loader, config: &ModelConfig, path: &str) -> Result<Self> {
        let vector = |part| loader.vector(&format!("{path}.{part}"), config.hidden_size);
        Ok(Self { weight: vector("weight")?, bias: vector("bias")?, eps: config.norm_eps })
    }

    /// The norm that neither scales nor shifts.
    pub(super) fn plain(loader: &Loader, config: &ModelConfig) -> Result<Self> {
        let constant = |value: f32| loader.device().upload(&vec![value; config.hidden_size]);
        Ok(Self { weight: constant(1.0)?, bias: constant(0.0)?, eps: config.norm_eps })
    }

    /// Weight and bias, by the name of the norm.
    pub(super) fn named(&self, name: &str) -> [(String, &Buffer); 2] {
        [(format!("{name}.weight"), &self.weight), (format!("{name}.bias"), &self.bias)]
    }

    pub(super) fn forward(&self, rec: &mut Recorder, x: &Activations) -> Result<Activations> {
        op::layer_norm(rec, x, &self.weight, &self.bias, self.eps)
    }
}
