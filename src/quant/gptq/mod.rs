//! GPTQ: the columns of a weight get their codes one after the other, and each takes up what the codes of those before it
//! cost in the output, as the Gram matrix of the layer's inputs tells. Layers are taken in the order they are used, each
//! on inputs that went through the quantized ones before it.
//!
//! The products with a layer's inputs run on the device; the columns are gone through on the processor, in parallel over the
//! rows, which know nothing of each other.

mod cholesky;
mod config;
mod solve;
#[cfg(test)]
mod tests;

use std::rc::Rc;

pub use config::GptqConfig;
use solve::{Factor, Ranges, solve};

use super::{
    BlockJob, BlockQuantizer, BlockResult, QuantizedLayer, QuantizedPart, Quantizer, Task, Way, codes_by_group,
};
use crate::calib::{CalibratedBlock, GramMatrix, Inputs};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::model::{Linear, Observer, StreamedModel};
use crate::op::{GroupWeight, importance, quantize_searched, weight_error};
use crate::pack::PackedTensor;
use crate::scheme::{Plan, Scheme, Span};

/// GPTQ with checked settings.
///
/// With [`GptqConfig::act_order`] the columns whose inputs weigh most come first, while they have the most others to pass
/// errors to. Groups then get their scales in advance, from the original weight, so they stay runs of neighbouring columns and
/// no order is stored. Without it a group gets its scale when its turn comes.
///
/// A Gram matrix that is not positive definite gets more damping, tenfold each time; one that holds what is no number
/// leaves the layer to round to nearest.
///
/// ```
/// use bitsmith::quant::{Gptq, GptqConfig, Quantizer};
/// let gptq = Gptq::new(GptqConfig { bits: 2, asymmetric: true, ..Default::default() })?;
/// assert_eq!(gptq.scheme().to_string(), "w2g128a");
/// assert!(Gptq::new(GptqConfig { damp_percent: 0.0, ..Default::default() }).is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gptq {
    config: GptqConfig,
    scheme: Scheme,
}

impl Gptq {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting.
    pub fn new(config: GptqConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { scheme: config.scheme()?, config })
    }

    /// Quantizes the layers of one list, which share their inputs.
    async fn list(
        &self,
        model: &StreamedModel,
        step: &mut CalibratedBlock,
        plan: &Plan,
        list: usize,
        parts: &mut Vec<QuantizedPart>,
    ) -> Result<Vec<String>> {
        let device = model.device();
        let due = |linear: &Linear| plan.get(linear.path()).is_some();
        let linears = step.block.linears();
        let Some(cols) = linears[list].iter().find(|l| due(l)).map(|l| l.shape()[1]) else { return Ok(Vec::new()) };
        let mut observers: Vec<Option<Rc<dyn Observer>>> = vec![None; linears.len()];
        let gram = Rc::new(GramMatrix::new(device, cols)?);
        observers[list] = Some(gram.clone());
        step.observe(model, &observers)?;
        let gram = gram.read().await?;
        let factor = Factor::new(&gram, cols, self.config.damp_percent, self.config.act_order);
        let mut notes = Vec::new();
        for (place, linear) in step.block.linears_mut().swap_remove(list).into_iter().enumerate() {
            let path = linear.path().to_owned();
            let Some(scheme) = plan.get(&path) else { continue };
            if place == 0 {
                notes.extend(self.note(factor.as_ref(), &path));
            }
            let layer = self.layer(device, linear, scheme, factor.as_ref(), &gram).await?;
            linear.set_group(GroupWeight::upload(device, &layer.weight)?)?;
            parts.push(QuantizedPart { path, rows: linear.rows(), layer });
        }
        Ok(notes)
    }

    /// What a user should know of a Gram matrix that was not as it should be.
    fn note(&self, factor: Option<&Factor>, path: &str) -> Option<String> {
        match factor {
            None => Some(format!("{path}: the inputs give no usable Gram matrix; rounded to nearest")),
            Some(factor) if factor.damping > self.config.damp_percent => {
                Some(format!("{path}: damping raised to {}", factor.damping))
            }
            Some(_) => None,
        }
    }

    async fn layer(
        &self,
        device: &Device,
        linear: &Linear,
        scheme: Scheme,
        factor: Option<&Factor>,
        gram: &[f32],
    ) -> Result<QuantizedLayer> {
        let path = linear.path();
        if scheme.span() == Span::Tensor {
            return Err(Error::config("plan", format!("{path} has one scale for all, which is not for gptq")));
        }
        let weight = linear.original()?.read(device).await?;
        if let Some((row, col, value)) = weight.first_not_finite() {
            return Err(Error::NotFinite { tensor: path.to_owned(), row, col, value });
        }
        let Some(factor) = factor else {
            let cols = weight.cols();
            let diagonal: Vec<f32> = (0..cols).map(|i| gram[i * cols + i]).collect();
            let importance = importance(device, &diagonal)?;
            let (weight, error) = quantize_searched(device, &weight, &scheme.into(), &importance, path).await?;
            return Ok(QuantizedLayer { weight, error });
        };
        let ranges = Ranges { search: self.config.search, fixed: self.config.act_order };
        let solved = solve(&weight.to_f32(), weight.rows(), scheme, factor, ranges)?;
        let packed = PackedTensor::pack(&solved);
        let error = weight_error(device, &weight, &packed).await?;
        Ok(QuantizedLayer { weight: packed, error })
    }
}

impl Quantizer for Gptq {
    fn name(&self) -> &'static str {
        "gptq"
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(&self.config).unwrap_or_default()
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn refuses(&self, scheme: Scheme) -> Option<&'static str> {
        codes_by_group(scheme)
    }

    fn way(&self, _: bool) -> Way<'_> {
        Way::Blocks(self)
    }
}

impl BlockQuantizer for Gptq {
    fn inputs(&self) -> Inputs {
        Inputs::Quantized
    }

    fn quantize<'a>(&'a self, job: BlockJob<'a>) -> Task<'a, BlockResult> {
        Box::pin(async move {
            let BlockJob { model, step, plan, progress } = job;
            let lists = step.block.linears().len();
            progress.begin(&format!("block {} of {}", step.index + 1, model.blocks()), lists as u64);
            let mut parts = Vec::new();
            for list in 0..lists {
                if progress.cancelled() {
                    return Err(Error::Cancelled);
                }
                let notes = self.list(model, step, plan, list, &mut parts).await?;
                notes.iter().for_each(|note| tracing::warn!("{note}"));
                progress.advance(1, &notes.join("; "));
            }
            progress.end();
            Ok(BlockResult { parts, ..BlockResult::default() })
        })
    }
}
