//! int8 weights, with int8 activations or without. Whether codes have zero points may depend on what a text brings about
//! in each layer.

mod config;
mod observe;

pub use config::{ActivationKind, Calibration as Int8Calibration, Granularity, Int8Config, Mode};
use observe::{Seen, observe};

use super::{
    LayerChoice, LayerJob, LayerQuantizer, Observation, ObserveJob, ObservingQuantizer, QuantizedLayer, Quantizer,
    Task, Way,
};
use crate::calib::Coding;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::export::{Observed, Spread};
use crate::op::{LayerInput, Moments, Quantization, quantize};
use crate::scheme::{Bits, RangeRule, Rounding, Scheme, Span, Zero};

/// int8 quantization with checked settings.
///
/// Symmetric weights have the scale `absmax / 127` and codes from -127 to 127, asymmetric ones `(max - min) / 255` with 0
/// included, and codes from 0 to 255.
///
/// ```
/// use bitsmith::quant::{Int8, Int8Config, Mode, QuantizeRequest, quantize_model};
/// use bitsmith::{Device, op::LayerInput, progress::Silent};
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path().join("tiny-llama-w8a8");
/// let int8 = Int8::new(Int8Config { mode: Mode::Symmetric, ..Default::default() })?;
/// let request = QuantizeRequest::new("examples/tiny-llama", &out);
/// let done = pollster::block_on(quantize_model(&Device::cpu(), &int8, &request, &mut Silent))?;
/// assert_eq!(done.record.layers[0].input, LayerInput::Tokens);
/// assert_eq!(done.record.layers[0].scheme.to_string(), "w8cs-f32");
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Int8 {
    config: Int8Config,
    /// Of a layer of which nothing was seen.
    scheme: Scheme,
}

impl Int8 {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) that names the setting.
    pub fn new(config: Int8Config) -> Result<Self> {
        config.check()?;
        Ok(Self { scheme: config.scheme(config.weight_mode != Mode::Asymmetric)?, config })
    }

    /// `exp(-|mean| / (std + epsilon))`: 1 for values around zero, near 0 for values far to one side.
    fn spread(&self, values: &Moments) -> Spread {
        let (mean, deviation) = (values.mean, values.deviation());
        Spread { mean, deviation, symmetry: (-mean.abs() / (deviation + self.config.epsilon)).exp() }
    }

    fn is_symmetric(&self, mode: Mode, values: Spread) -> bool {
        match mode {
            Mode::Symmetric => true,
            Mode::Asymmetric => false,
            Mode::Auto => values.symmetry > self.config.symmetry_threshold,
        }
    }

    fn choose(&self, seen: &Seen) -> Result<LayerChoice> {
        let observed = Observed { input: self.spread(&seen.input), output: self.spread(&seen.output) };
        let symmetric = self.is_symmetric(self.config.mode, observed.input);
        let input = match (self.config.activations, symmetric) {
            (ActivationKind::None, _) => LayerInput::Exact,
            (ActivationKind::Dynamic, true) => LayerInput::Tokens,
            (ActivationKind::Dynamic, false) => LayerInput::TokensAsymmetric,
            (ActivationKind::Static, symmetric) => self.fixed(seen, symmetric)?,
        };
        let scheme = self.config.scheme(self.is_symmetric(self.config.weight_mode, observed.output))?;
        Ok(LayerChoice { scheme, input, observed: Some(observed) })
    }

    /// Scale and zero point for all that was seen.
    fn fixed(&self, seen: &Seen, symmetric: bool) -> Result<LayerInput> {
        let zero = if symmetric { Zero::Symmetric } else { Zero::Stored };
        let scheme = Scheme::new(Bits::new(8)?, Span::Tensor, zero).with_scale_type(Dtype::F32);
        let coding = Coding { scheme, rule: rule(scheme) };
        let [min, max] = self.config.calibration.method().range(&seen.values, coding);
        let (scale, zero) = coding.rule.scale_and_zero(min, max, scheme);
        // Codes of weights are counted from 0, those of activations from -128.
        Ok(LayerInput::Static { scale, zero: zero.wrapping_sub(128).cast_signed() })
    }
}

/// The range that int8 codes of a scheme span.
pub(super) fn rule(scheme: Scheme) -> RangeRule {
    if scheme.is_symmetric() { RangeRule::Restricted } else { RangeRule::FullRange }
}

impl Quantizer for Int8 {
    fn name(&self) -> &'static str {
        "int8"
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(&self.config).unwrap_or_default()
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn refuses(&self, scheme: Scheme) -> Option<&'static str> {
        (scheme.bits().get() != 8).then_some("it makes 8 bits, written as in w8cs")
    }

    fn input(&self) -> LayerInput {
        match (self.config.activations, self.config.mode) {
            (ActivationKind::None, _) => LayerInput::Exact,
            (_, Mode::Asymmetric) => LayerInput::TokensAsymmetric,
            (_, Mode::Symmetric | Mode::Auto) => LayerInput::Tokens,
        }
    }

    fn smoothing(&self) -> Option<f64> {
        self.config.smooth
    }

    fn way(&self, data: bool) -> Way<'_> {
        if data || self.config.needs_text() { Way::Observed(self) } else { Way::Layers(self) }
    }
}

impl ObservingQuantizer for Int8 {
    fn samples(&self, _: usize) -> usize {
        self.config.calib_samples
    }

    fn observe<'a>(&'a self, job: ObserveJob<'a>) -> Task<'a, Observation> {
        Box::pin(async move {
            let seen = observe(job.model, job.data, job.progress).await?;
            let choices =
                seen.into_iter().map(|(path, seen)| Ok((path, self.choose(&seen)?))).collect::<Result<_>>()?;
            Ok(Observation { choices, search: None })
        })
    }
}

impl LayerQuantizer for Int8 {
    fn quantize<'a>(&'a self, job: &'a LayerJob<'a>) -> Task<'a, QuantizedLayer> {
        Box::pin(async move {
            let quantization =
                Quantization { scheme: job.scheme, range: rule(job.scheme), rounding: Rounding::HalfEven, seed: 0 };
            let (weight, error) = quantize(job.device, &job.weight, &quantization, job.path).await?;
            Ok(QuantizedLayer { weight, error })
        })
    }
}
