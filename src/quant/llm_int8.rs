//! LLM.int8: 8-bit weights and activations, but for the columns of a layer's input that hold an outlier.

use serde::{Deserialize, Serialize};

use super::int8::rule;
use super::{LayerJob, LayerQuantizer, QuantizedLayer, Quantizer, Task, Way};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::op::{LayerInput, Quantization, quantize};
use crate::scheme::{Bits, Rounding, Scheme, Span, Zero};

/// Settings of LLM.int8, as typed on the command line and as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct LlmInt8Config {
    /// Magnitude from which on a value that goes into a layer is an outlier: its column is not rounded to int8 but to f16,
    /// and meets dequantized weights
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE", default_value_t = LlmInt8Config::default().outlier_threshold))]
    pub outlier_threshold: f32,
    /// Type that scales are rounded to: f32, f16 or bf16
    #[cfg_attr(feature = "cli", arg(long, value_name = "TYPE", default_value_t = LlmInt8Config::default().scale_type))]
    pub scale_type: Dtype,
}

impl Default for LlmInt8Config {
    fn default() -> Self {
        Self { outlier_threshold: 6.0, scale_type: Dtype::F32 }
    }
}

/// LLM.int8 with checked settings: weights have a scale for each output channel, `absmax / 127`; which columns of the
/// activations hold outliers is found when they come.
///
/// ```
/// use bitsmith::quant::{LlmInt8, LlmInt8Config, QuantizeRequest, quantize_model};
/// use bitsmith::{Device, op::LayerInput, progress::Silent};
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path().join("tiny-llama-int8");
/// let method = LlmInt8::new(LlmInt8Config::default())?;
/// let request = QuantizeRequest::new("examples/tiny-llama", &out);
/// let done = pollster::block_on(quantize_model(&Device::cpu(), &method, &request, &mut Silent))?;
/// assert_eq!(done.record.layers[0].input, LayerInput::Outliers { threshold: 6.0 });
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LlmInt8 {
    config: LlmInt8Config,
    scheme: Scheme,
}

impl LlmInt8 {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Config`] for a threshold that is no number above 0.
    pub fn new(config: LlmInt8Config) -> Result<Self> {
        let threshold = config.outlier_threshold;
        if !(threshold > 0.0 && threshold.is_finite()) {
            let detail = format!("{threshold} is no number above 0; 6 is usual, and --method int8 has no outliers");
            return Err(Error::config("outlier_threshold", detail));
        }
        let scheme = Scheme::new(Bits::new(8)?, Span::Channel, Zero::Symmetric).with_scale_type(config.scale_type);
        Ok(Self { config, scheme })
    }
}

impl Quantizer for LlmInt8 {
    fn name(&self) -> &'static str {
        "llm-int8"
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(&self.config).unwrap_or_default()
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn refuses(&self, scheme: Scheme) -> Option<&'static str> {
        let own = scheme.with_scale_type(self.scheme.scale_type()) == self.scheme;
        (!own).then_some("it makes 8 bits with one scale per output feature, written as w8cs")
    }

    fn input(&self) -> LayerInput {
        LayerInput::Outliers { threshold: self.config.outlier_threshold }
    }

    fn way(&self, _: bool) -> Way<'_> {
        Way::Layers(self)
    }
}

impl LayerQuantizer for LlmInt8 {
    fn quantize<'a>(&'a self, job: &'a LayerJob<'a>) -> Task<'a, QuantizedLayer> {
        Box::pin(async move {
            let quantization =
                Quantization { scheme: job.scheme, range: rule(job.scheme), rounding: Rounding::HalfEven, seed: 0 };
            let (weight, error) = quantize(job.device, &job.weight, &quantization, job.path).await?;
            Ok(QuantizedLayer { weight, error })
        })
    }
}
