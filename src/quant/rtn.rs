//! Round to nearest: each weight takes the code closest to it. The scales follow from the extremes of each group or, on
//! request, from a search, which calibration data makes aware of what goes into the layers.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::{
    BlockJob, BlockQuantizer, BlockResult, GroupSize, LayerJob, LayerQuantizer, QuantizedLayer, QuantizedPart,
    Quantizer, Task, Way, codes_by_group,
};
use crate::calib::{Inputs, SecondMoments};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::model::Observer;
use crate::op::{Quantization, importance, quantize, quantize_searched};
use crate::scheme::{RangeRule, Rounding, Scheme, Span};

/// Settings of round-to-nearest, as typed on the command line and as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct RtnConfig {
    /// Bits of a weight: 2, 3, 4 or 8
    #[cfg_attr(feature = "cli", arg(long, default_value_t = RtnConfig::default().bits))]
    pub bits: u8,
    /// Input features that share a scale, 16 to 1024; `channel` for one scale per output feature, `tensor` for one in all
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = RtnConfig::default().group_size))]
    pub group_size: GroupSize,
    /// Store a zero point per group (readers other than bitsmith may refuse it)
    #[cfg_attr(feature = "cli", arg(long))]
    pub asymmetric: bool,
    /// Type that scales are rounded to: f32, f16 or bf16 (the file of an f32 model holds the rounded values in f32)
    #[cfg_attr(feature = "cli", arg(long, value_name = "TYPE", default_value_t = RtnConfig::default().scale_type))]
    pub scale_type: Dtype,
    /// Search the scale of each group for the least squared error, in place of a range rule; with calibration data each
    /// input feature counts by its second moment
    #[cfg_attr(feature = "cli", arg(long, conflicts_with = "range"))]
    pub search: bool,
    /// Range rule: full-range, 2n-1, restricted (symmetric only) or raw (asymmetric only)
    #[cfg_attr(feature = "cli", arg(long, value_name = "RULE", default_value_t = RtnConfig::default().range))]
    pub range: RangeRule,
    /// Rounding: half-even, half-away or stochastic
    #[cfg_attr(feature = "cli", arg(long, value_name = "RULE", default_value_t = RtnConfig::default().rounding))]
    pub rounding: Rounding,
    /// Seed of stochastic rounding
    #[cfg_attr(feature = "cli", arg(long, default_value_t = RtnConfig::default().seed))]
    pub seed: u32,
}

impl Default for RtnConfig {
    fn default() -> Self {
        Self {
            bits: 4,
            group_size: GroupSize(Span::Group(128)),
            asymmetric: false,
            scale_type: Dtype::F16,
            search: false,
            range: RangeRule::default(),
            rounding: Rounding::default(),
            seed: 0,
        }
    }
}

/// Round-to-nearest with checked settings.
///
/// ```
/// use bitsmith::quant::{Quantizer, Rtn, RtnConfig};
/// let rtn = Rtn::new(RtnConfig { bits: 3, ..Default::default() })?;
/// assert_eq!(rtn.scheme().to_string(), "w3g128s");
/// assert!(Rtn::new(RtnConfig { bits: 5, ..Default::default() }).is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rtn {
    config: RtnConfig,
    quantization: Quantization,
}

impl Rtn {
    /// Checks the settings against each other.
    pub fn new(config: RtnConfig) -> Result<Self> {
        let scheme = config.group_size.scheme(config.bits, config.asymmetric, config.scale_type)?;
        config.range.check(scheme)?;
        if config.search && config.range != RangeRule::default() {
            return Err(Error::config("range", "a search takes the place of a rule; leave out one of them"));
        }
        if config.search {
            config.group_size.refuse_tensor("searched")?;
        }
        let RtnConfig { range, rounding, seed, .. } = config;
        Ok(Self { config, quantization: Quantization { scheme, range, rounding, seed } })
    }
}

impl Quantizer for Rtn {
    fn name(&self) -> &'static str {
        "rtn"
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(&self.config).unwrap_or_default()
    }

    fn scheme(&self) -> Scheme {
        self.quantization.scheme
    }

    fn refuses(&self, scheme: Scheme) -> Option<&'static str> {
        if self.config.search { codes_by_group(scheme) } else { None }
    }

    fn way(&self, data: bool) -> Way<'_> {
        // Only a search has a use for data.
        if data && self.config.search { Way::Blocks(self) } else { Way::Layers(self) }
    }
}

impl LayerQuantizer for Rtn {
    fn quantize<'a>(&'a self, job: &'a LayerJob<'a>) -> Task<'a, QuantizedLayer> {
        Box::pin(async move {
            let quantization = Quantization { scheme: job.scheme, ..self.quantization };
            let (weight, error) = if self.config.search {
                let alike = importance(job.device, &vec![1.0; job.weight.cols()])?;
                quantize_searched(job.device, &job.weight, &quantization, &alike, job.path).await?
            } else {
                quantize(job.device, &job.weight, &quantization, job.path).await?
            };
            Ok(QuantizedLayer { weight, error })
        })
    }
}

impl BlockQuantizer for Rtn {
    fn inputs(&self) -> Inputs {
        Inputs::Quantized
    }

    fn quantize<'a>(&'a self, job: BlockJob<'a>) -> Task<'a, BlockResult> {
        Box::pin(async move {
            let BlockJob { model, step, plan, progress } = job;
            let device = model.device();
            let lists = step.block.linears();
            let planned = lists.iter().flatten().filter(|linear| plan.get(linear.path()).is_some()).count();
            let moments = lists.iter().map(|linears| match linears.iter().find(|l| plan.get(l.path()).is_some()) {
                Some(linear) => SecondMoments::new(device, linear.shape()[1]).map(Rc::new).map(Some),
                None => Ok(None),
            });
            let moments: Vec<Option<Rc<SecondMoments>>> = moments.collect::<Result<_>>()?;
            progress.begin(&format!("block {} of {}", step.index + 1, model.blocks()), planned as u64);
            let observers: Vec<_> = moments.iter().map(|m| m.clone().map(|m| m as Rc<dyn Observer>)).collect();
            step.observe(model, &observers)?;
            let mut parts = Vec::with_capacity(planned);
            for (linears, moments) in step.block.linears().into_iter().zip(moments) {
                let Some(moments) = moments else { continue };
                let weights = importance(device, &moments.read().await?)?;
                for linear in linears {
                    let path = linear.path();
                    let Some(scheme) = plan.get(path) else { continue };
                    if progress.cancelled() {
                        return Err(Error::Cancelled);
                    }
                    let quantization = Quantization { scheme, ..self.quantization };
                    let weight = linear.original()?.read(device).await?;
                    let (weight, error) = quantize_searched(device, &weight, &quantization, &weights, path).await?;
                    let layer = QuantizedLayer { weight, error };
                    parts.push(QuantizedPart { path: path.to_owned(), rows: linear.rows(), layer });
                    progress.advance(1, path);
                }
            }
            progress.end();
            Ok(BlockResult { parts, ..BlockResult::default() })
        })
    }
}
