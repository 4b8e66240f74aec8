//! Three levels: each weight becomes -1, 0 or 1 times the scale of its group, 1.58 bits of information. Made for models that
//! were trained with it; one that was not loses most of what it knows.

use serde::{Deserialize, Serialize};

use super::{GroupSize, LayerJob, LayerQuantizer, QuantizedLayer, Quantizer, Task, Way};
use crate::dtype::Dtype;
use crate::op::quantize_ternary;
use crate::scheme::{Bits, Scheme, Span, TernaryRule, Zero};

/// Settings of ternary quantization, as typed on the command line and as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct TernaryConfig {
    /// How scale and threshold are found: absmean (as BitNet; for models that were trained so), twn (threshold 0.7 of the
    /// mean magnitude, the best scale for it) or mse (least squared error of all thresholds; with twn the least bad for
    /// models that were not)
    #[cfg_attr(feature = "cli", arg(long, value_name = "RULE", default_value_t = TernaryConfig::default().rule))]
    pub rule: TernaryRule,
    /// Input features that share a scale, 16 to 1024; `channel` for one scale per output feature, `tensor` for one in all
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = TernaryConfig::default().group_size))]
    pub group_size: GroupSize,
    /// Type that scales are rounded to: f32, f16 or bf16 (the file of an f32 model holds the rounded values in f32)
    #[cfg_attr(feature = "cli", arg(long, value_name = "TYPE", default_value_t = TernaryConfig::default().scale_type))]
    pub scale_type: Dtype,
}

impl Default for TernaryConfig {
    fn default() -> Self {
        Self { rule: TernaryRule::default(), group_size: GroupSize(Span::Tensor), scale_type: Dtype::F16 }
    }
}

/// Ternary quantization of weights.
///
/// ```
/// use bitsmith::quant::{Quantizer, Ternary, TernaryConfig};
/// let ternary = Ternary::new(TernaryConfig { group_size: "channel".parse()?, ..Default::default() });
/// assert_eq!(ternary.scheme().to_string(), "w1.58cs");
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Ternary {
    config: TernaryConfig,
}

impl Ternary {
    /// With these settings; all of them fit each other.
    pub fn new(config: TernaryConfig) -> Self {
        Self { config }
    }
}

impl Quantizer for Ternary {
    fn name(&self) -> &'static str {
        "ternary"
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(&self.config).unwrap_or_default()
    }

    fn scheme(&self) -> Scheme {
        let TernaryConfig { group_size, scale_type, .. } = self.config;
        Scheme::new(Bits::TERNARY, group_size.0, Zero::Symmetric).with_scale_type(scale_type)
    }

    fn refuses(&self, scheme: Scheme) -> Option<&'static str> {
        (!scheme.bits().is_ternary()).then_some("it makes three levels, written as in w1.58g32s")
    }

    fn way(&self, _: bool) -> Way<'_> {
        Way::Layers(self)
    }
}

impl LayerQuantizer for Ternary {
    fn quantize<'a>(&'a self, job: &'a LayerJob<'a>) -> Task<'a, QuantizedLayer> {
        Box::pin(async move {
            let LayerJob { device, path, weight, scheme } = job;
            let (weight, error) = quantize_ternary(device, weight, *scheme, self.config.rule, path).await?;
            Ok(QuantizedLayer { weight, error })
        })
    }
}
