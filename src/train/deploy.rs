//! Weights as a training used them, packed.

use crate::device::Recorder;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::nn::BitLinearConfig;
use crate::op::{self, Activations, LayerInput};
use crate::quant::{LayerJob, LayerQuantizer, QuantizedLayer, Quantizer, Task, Way};
use crate::scheme::{Bits, Scheme, Zero};

use super::config::TrainConfig;

/// Gives each weight the codes that the training computed with.
#[derive(Debug)]
pub(super) struct Deploy<'a> {
    config: &'a TrainConfig,
    linear: BitLinearConfig,
    trained: Scheme,
}

impl<'a> Deploy<'a> {
    /// None for a float training: there is nothing to pack.
    pub(super) fn new(config: &'a TrainConfig) -> Option<Self> {
        let linear = config.linear();
        Some(Self { config, linear, trained: linear.scheme()? })
    }
}

impl Quantizer for Deploy<'_> {
    fn name(&self) -> &'static str {
        "trained"
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(self.config).unwrap_or_default()
    }

    /// Three levels lie in a file as codes of 2 bits, one of which is unused.
    fn scheme(&self) -> Scheme {
        match Bits::new(self.trained.bits().get()) {
            Ok(bits) => Scheme::new(bits, self.trained.span(), Zero::Symmetric).with_scale_type(Dtype::F32),
            Err(_) => self.trained,
        }
    }

    fn input(&self) -> LayerInput {
        self.linear.input()
    }

    fn way(&self, _: bool) -> Way<'_> {
        Way::Layers(self)
    }
}

impl LayerQuantizer for Deploy<'_> {
    fn quantize<'a>(&'a self, job: &'a LayerJob<'a>) -> Task<'a, QuantizedLayer> {
        Box::pin(async move { self.pack(job).await })
    }
}

impl Deploy<'_> {
    async fn pack(&self, job: &LayerJob<'_>) -> Result<QuantizedLayer> {
        let (device, weight) = (job.device, &job.weight);
        let values = Activations::upload(device, weight.rows(), weight.cols(), &weight.to_f32())?;
        let mut rec = Recorder::new(device);
        let packed = op::pack_weight(&mut rec, &values, self.trained)?;
        rec.submit()?;
        let mut packed = packed.read(device).await.map_err(|error| match error {
            Error::Config { detail, .. } => Error::config(job.path, detail),
            other => other,
        })?;
        packed.scheme = job.scheme;
        let error = op::weight_error(device, weight, &packed).await?;
        Ok(QuantizedLayer { weight: packed, error })
    }
}
