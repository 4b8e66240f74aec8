//! Settings of a training.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::nn::{BitLinearConfig, InputPrecision, WeightPrecision};
use crate::op::{Decay, Schedule};
use crate::quant::GroupSize;
use crate::scheme::Span;

/// Settings of a training, as typed on the command line and as recorded. The same settings, model, data and device give the
/// same weights, byte for byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Steps of the optimiser
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = TrainConfig::default().steps))]
    pub steps: u32,
    /// Sequences, or images, that go through the model at once
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = TrainConfig::default().batch_size))]
    pub batch_size: usize,
    /// Batches whose gradients are added up for a step
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = TrainConfig::default().accumulate))]
    pub accumulate: usize,
    /// Tokens of a sequence [default: 512, or the model's context if that is shorter]
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS"))]
    pub seq_len: Option<usize>,
    /// Length of the longest step [default: 0.001, for weights of 3 bits or fewer 0.002]
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE"))]
    pub lr: Option<f32>,
    /// Steps at the beginning that grow from 0 to that length [default: a twentieth of all]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N"))]
    pub warmup: Option<u32>,
    /// How steps get shorter after that: cosine or linear, both to 0, or constant
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHAPE", default_value_t = TrainConfig::default().decay))]
    pub decay: Decay,
    /// Share of a matrix that a step of length 1 takes away; norms and biases are spared
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHARE", default_value_t = TrainConfig::default().weight_decay))]
    pub weight_decay: f64,
    /// Share of the steps after which there is no weight decay any more
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHARE", default_value_t = TrainConfig::default().decay_until))]
    pub decay_until: f32,
    /// Largest norm of all gradients together; 0 for any
    #[cfg_attr(feature = "cli", arg(long, value_name = "NORM", default_value_t = TrainConfig::default().clip))]
    pub clip: f32,
    /// What first weights, order of the text or images, noise and dropout depend on
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = TrainConfig::default().seed))]
    pub seed: u32,
    /// What the weights of the blocks' linear layers become whenever they are used: float, ternary, 8, 4, 3 or 2 bits
    #[cfg_attr(feature = "cli", arg(long, value_name = "PRECISION", default_value_t = TrainConfig::default().weights))]
    #[cfg_attr(feature = "cli", arg(help_heading = "Quantization in the loop"))]
    pub weights: WeightPrecision,
    /// Weights that share a scale: tensor, channel, or so many input features
    #[cfg_attr(feature = "cli", arg(long, value_name = "WHICH", default_value_t = TrainConfig::default().granularity))]
    #[cfg_attr(feature = "cli", arg(help_heading = "Quantization in the loop"))]
    pub granularity: GroupSize,
    /// What activations become before they meet quantized weights: float, or int8 with a scale for each token
    #[cfg_attr(feature = "cli", arg(long, value_name = "PRECISION", default_value_t = TrainConfig::default().activations))]
    #[cfg_attr(feature = "cli", arg(help_heading = "Quantization in the loop"))]
    pub activations: InputPrecision,
    /// Add to each quantized weight an even draw over this share of a quantization step
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHARE", default_value_t = TrainConfig::default().noise))]
    #[cfg_attr(feature = "cli", arg(help_heading = "Quantization in the loop"))]
    pub noise: f32,
    /// Precisions of the weights one after the other, each for an equal share of the steps, such as 8,4,2,ternary
    #[cfg_attr(feature = "cli", arg(long, value_name = "LIST", default_value_t = TrainConfig::default().progressive))]
    #[cfg_attr(feature = "cli", arg(help_heading = "Quantization in the loop", hide_default_value = true))]
    pub progressive: Precisions,
    /// Steps between two states that --resume can go on from; 0 for none but the last
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = TrainConfig::default().checkpoint_every))]
    pub checkpoint_every: u32,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch_size: 16,
            accumulate: 1,
            seq_len: None,
            lr: None,
            warmup: None,
            decay: Decay::Cosine,
            weight_decay: 0.1,
            decay_until: 1.0,
            clip: 1.0,
            seed: 0,
            weights: WeightPrecision::Float,
            granularity: GroupSize(Span::Tensor),
            activations: InputPrecision::Float,
            noise: 0.0,
            progressive: Precisions::default(),
            checkpoint_every: 200,
        }
    }
}

/// The longest sequence where none is asked for.
const SEQ_LEN: usize = 512;
/// One of so many steps belongs to the warm-up where none is asked for.
const WARM_UP: u32 = 20;
/// Sequences or images of a pass, and passes of a step, at most: their product is still a number.
const MOST: usize = 1 << 20;

impl TrainConfig {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting.
    pub fn check(&self) -> Result<()> {
        let refuse = |field: &str, detail: String| Err(Error::config(field, detail));
        for (field, value) in [
            ("steps", u64::from(self.steps)),
            ("batch_size", self.batch_size as u64),
            ("accumulate", self.accumulate as u64),
        ] {
            if value == 0 {
                return refuse(field, "0; take at least 1".into());
            }
        }
        for (field, value) in [("batch_size", self.batch_size), ("accumulate", self.accumulate)] {
            if value > MOST {
                return refuse(field, format!("{value}; at most {MOST}"));
            }
        }
        if self.steps == u32::MAX {
            return refuse("steps", "at most 4294967294".into());
        }
        if let Some(lr) = self.lr.filter(|lr| !(lr.is_finite() && *lr > 0.0)) {
            return refuse("lr", format!("{lr} is not a number above 0"));
        }
        if let Some(warmup) = self.warmup.filter(|warmup| *warmup > self.steps) {
            return refuse("warmup", format!("{warmup} is more than the {} steps", self.steps));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return refuse("weight_decay", format!("{} is not a number from 0 up", self.weight_decay));
        }
        if !(0.0..=1.0).contains(&self.decay_until) {
            return refuse("decay_until", format!("{} is no share from 0 to 1", self.decay_until));
        }
        if !(self.clip.is_finite() && self.clip >= 0.0) {
            return refuse("clip", format!("{} is not a number from 0 up", self.clip));
        }
        if !(0.0..=1.0).contains(&self.noise) {
            return refuse("noise", format!("{} is no share from 0 to 1", self.noise));
        }
        if let Some(last) = self.progressive.0.last()
            && self.weights != WeightPrecision::Float
            && self.weights != *last
        {
            return refuse(
                "progressive",
                format!("it ends at {last}, but --weights is {}; leave one out", self.weights),
            );
        }
        let float = self.weights() == WeightPrecision::Float && self.progressive.0.is_empty();
        if float && self.activations != InputPrecision::Float {
            return refuse("activations", "int8 is for quantized weights; name them with --weights".into());
        }
        if float && self.noise > 0.0 {
            return refuse("noise", "there is no quantization step without --weights".into());
        }
        if self.activations == InputPrecision::Int8
            && let Span::Group(size) = self.granularity.0
        {
            let detail = format!("{size}, but int8 activations need weights with a scale for each tensor or channel");
            return refuse("granularity", detail);
        }
        Ok(())
    }

    /// The settings of a classifier that learns so many images: its steps are those of the epochs, and its layers are those of
    /// its own configuration where these say float.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not fit, and for those of language models that are not as by default.
    pub(super) fn of_classifier(&self, epochs: u32, images: usize, own: BitLinearConfig) -> Result<Self> {
        let usual = Self::default();
        for (field, same) in [("steps", self.steps == usual.steps), ("seq_len", self.seq_len == usual.seq_len)] {
            if !same {
                return Err(Error::config(field, "it is for language models; leave it out for images"));
            }
        }
        if epochs == 0 {
            return Err(Error::config("epochs", "0; take at least 1"));
        }
        let of_epoch = images.div_ceil(self.images_of_step().max(1)) as u64;
        let steps = u32::try_from(of_epoch.saturating_mul(epochs.into())).unwrap_or(u32::MAX);
        if steps == u32::MAX {
            return Err(Error::config("epochs", format!("{epochs} of {of_epoch} steps each are too many")));
        }
        let config = Self { steps, ..self.clone() };
        config.check()?;
        Ok(match self.weights() {
            WeightPrecision::Float if self.progressive.0.is_empty() => {
                if self.granularity != usual.granularity {
                    let detail =
                        "the network's own file says it with its weights; name others with --weights, or leave it out";
                    return Err(Error::config("granularity", detail));
                }
                let BitLinearConfig { weights, activations, granularity, .. } = own;
                Self { weights, activations, granularity: GroupSize(granularity), ..config }
            }
            _ => config,
        })
    }

    /// Images of a step.
    pub(super) fn images_of_step(&self) -> usize {
        self.batch_size.saturating_mul(self.accumulate)
    }

    /// By name, with the digits that were typed: a number of f32 has others as one of f64.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_string(self).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
    }

    /// What the weights are in the end.
    pub fn weights(&self) -> WeightPrecision {
        self.progressive.0.last().copied().unwrap_or(self.weights)
    }

    /// What the linear layers are in the end.
    pub fn linear(&self) -> BitLinearConfig {
        self.linear_of(self.weights())
    }

    /// What the linear layers are at a step, counted from 0.
    pub(super) fn linear_at(&self, step: u32) -> BitLinearConfig {
        let stages = self.progressive.0.len();
        let index = u64::from(step) * stages as u64 / u64::from(self.steps.max(1));
        let stage = usize::try_from(index).ok().and_then(|index| self.progressive.0.get(index));
        self.linear_of(stage.copied().unwrap_or(self.weights))
    }

    fn linear_of(&self, weights: WeightPrecision) -> BitLinearConfig {
        BitLinearConfig { weights, activations: self.activations, granularity: self.granularity.0, bias: true }
    }

    /// Tokens of a sequence in a model with this context.
    ///
    /// # Errors
    /// [`Error::Config`] for none, or more than the model was made for.
    pub(super) fn tokens(&self, context: usize) -> Result<usize> {
        match self.seq_len {
            None => Ok(SEQ_LEN.min(context)),
            Some(0) => Err(Error::config("seq_len", "0; take at least 1")),
            Some(length) if length > context => {
                Err(Error::config("seq_len", format!("{length}, but the model's context is {context}")))
            }
            Some(length) => Ok(length),
        }
    }

    /// Length of the longest step.
    fn longest(&self) -> f32 {
        let few_bits = match self.weights() {
            WeightPrecision::Float => false,
            WeightPrecision::Ternary => true,
            WeightPrecision::Bits(bits) => bits.get() <= 3,
        };
        self.lr.unwrap_or(if few_bits { 2e-3 } else { 1e-3 })
    }

    /// Length of a step, counted from 0.
    pub(super) fn rate(&self, step: u32) -> f32 {
        let warmup = self.warmup.unwrap_or(self.steps / WARM_UP);
        // One more than there are, and counted from 1: neither the first nor the last step is 0.
        self.longest() * Schedule { steps: self.steps + 1, warmup, decay: self.decay }.factor(step + 1)
    }

    /// The weight decay of a step, counted from 0.
    pub(super) fn weight_decay(&self, step: u32) -> f64 {
        let until = f64::from(self.decay_until) * f64::from(self.steps);
        if f64::from(step) < until { self.weight_decay } else { 0.0 }
    }
}

/// Precisions one after the other, separated by commas; none is an empty text.
///
/// ```
/// use bitsmith::train::Precisions;
/// assert_eq!("8,4,ternary".parse::<Precisions>()?.to_string(), "int8,int4,ternary");
/// assert!("8,5".parse::<Precisions>().is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Precisions(pub Vec<WeightPrecision>);

impl fmt::Display for Precisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(","))
    }
}

impl FromStr for Precisions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let parsed: Result<Vec<_>> = words.map(str::parse).collect();
        parsed.map(Self).map_err(|error| match error {
            Error::Config { detail, .. } => Error::config("progressive", detail),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        let ternary = WeightPrecision::Ternary;
        let cases = [
            (TrainConfig { steps: 0, ..Default::default() }, "steps"),
            (TrainConfig { accumulate: 0, ..Default::default() }, "accumulate"),
            (TrainConfig { lr: Some(f32::NAN), ..Default::default() }, "lr"),
            (TrainConfig { warmup: Some(1001), ..Default::default() }, "warmup"),
            (TrainConfig { decay_until: 1.5, ..Default::default() }, "decay_until"),
            (TrainConfig { clip: -1.0, ..Default::default() }, "clip"),
            (TrainConfig { noise: 0.5, ..Default::default() }, "noise"),
            (TrainConfig { noise: 2.0, weights: ternary, ..Default::default() }, "noise"),
            (TrainConfig { activations: InputPrecision::Int8, ..Default::default() }, "activations"),
            (
                TrainConfig {
                    weights: ternary,
                    progressive: Precisions(vec![WeightPrecision::Float]),
                    ..Default::default()
                },
                "progressive",
            ),
        ];
        for (config, field) in cases {
            let error = config.check().expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
        assert!(TrainConfig::default().check().is_ok());
    }

    #[test]
    fn stages_share_the_steps() {
        let progressive: Precisions = "8,4,ternary".parse().expect("precisions");
        let config = TrainConfig { steps: 9, progressive, ..Default::default() };
        let stages = [0, 2, 3, 5, 6, 8].map(|step| config.linear_at(step).weights.to_string());
        assert_eq!(stages, ["int8", "int8", "int4", "int4", "ternary", "ternary"]);
        assert_eq!(config.weights(), WeightPrecision::Ternary);
    }

    #[test]
    fn steps_grow_and_shrink_and_none_is_zero() {
        let config = TrainConfig { steps: 10, warmup: Some(2), lr: Some(1.0), decay_until: 0.5, ..Default::default() };
        let rates: Vec<f32> = (0..10).map(|step| config.rate(step)).collect();
        assert_eq!(rates[..2], [0.5, 1.0]);
        assert!(rates[1..].is_sorted_by(|a, b| a > b) && rates[9] > 0.0, "{rates:?}");
        assert_eq!((config.weight_decay(4), config.weight_decay(5)), (0.1, 0.0));
    }
}
