//! Weights as a training used them, packed.

use std::path::Path;

use serde_json::Value;

use crate::device::Recorder;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::nn::BitLinearConfig;
use crate::op::{self, Activations, LayerInput};
use crate::quant::{LayerJob, LayerQuantizer, QuantizedLayer, Quantizer, Task, Way};
use crate::scheme::Scheme;

use super::config::TrainConfig;

/// An error where the folders of a training and of what is packed of it are not apart: the second to get its name would take
/// the first away.
pub(super) fn apart(out: &Path, deploy: &Path) -> Result<()> {
    let [a, b] = [out, deploy].map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()));
    if a.starts_with(&b) || b.starts_with(&a) {
        let detail =
            format!("{} and the folder of --out are one, or one lies in the other; give another", deploy.display());
        return Err(Error::config("deploy", detail));
    }
    Ok(())
}

/// Gives each weight the codes that a training computed with.
#[derive(Debug)]
pub(super) struct Deploy {
    /// What the record calls the method.
    name: &'static str,
    settings: Value,
    linear: BitLinearConfig,
    /// With the type that scales are rounded to at last.
    scheme: Scheme,
}

impl Deploy {
    /// Of a method that was in the loop.
    pub(super) fn new(name: &'static str, settings: Value, linear: BitLinearConfig, scheme: Scheme) -> Self {
        Self { name, settings, linear, scheme }
    }

    /// Of a training; none for a float one: there is nothing to pack.
    pub(super) fn of(config: &TrainConfig) -> Option<Self> {
        let linear = config.linear();
        let settings = serde_json::to_value(config).unwrap_or_default();
        Some(Self::new("trained", settings, linear, linear.scheme()?))
    }
}

impl Quantizer for Deploy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn settings(&self) -> Value {
        self.settings.clone()
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn input(&self) -> LayerInput {
        self.linear.input()
    }

    fn way(&self, _: bool) -> Way<'_> {
        Way::Layers(self)
    }
}

impl LayerQuantizer for Deploy {
    fn quantize<'a>(&'a self, job: &'a LayerJob<'a>) -> Task<'a, QuantizedLayer> {
        Box::pin(async move { self.pack(job).await })
    }
}

impl Deploy {
    async fn pack(&self, job: &LayerJob<'_>) -> Result<QuantizedLayer> {
        let (device, weight) = (job.device, &job.weight);
        let values = Activations::upload(device, weight.rows(), weight.cols(), &weight.to_f32())?;
        let mut rec = Recorder::new(device);
        let packed = op::pack_weight(&mut rec, &values, self.scheme.with_scale_type(Dtype::F32))?;
        rec.submit()?;
        let mut packed = packed.read(device).await.map_err(|error| match error {
            Error::Config { detail, .. } => Error::config(job.path, detail),
            other => other,
        })?;
        packed.scheme = job.scheme;
        packed.scales.iter_mut().for_each(|scale| *scale = job.scheme.scale_type().round(*scale));
        let error = op::weight_error(device, weight, &packed).await?;
        Ok(QuantizedLayer { weight: packed, error })
    }
}
