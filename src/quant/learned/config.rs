//! Settings of learned rounding.

use serde::{Deserialize, Serialize};

use super::ranges::Ranges;
use crate::calib::Inputs;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::quant::{GroupSize, TuneConfig};
use crate::scheme::{Bits, Scheme, Span};

/// Settings of learned rounding, as typed on the command line and as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct LearnedConfig {
    /// Bits of a weight: 2, 3, 4 or 8
    #[cfg_attr(feature = "cli", arg(long, default_value_t = LearnedConfig::default().bits))]
    pub bits: u8,
    /// Input features that share a scale, 16 to 1024; `channel` for one scale per output feature
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = LearnedConfig::default().group_size))]
    pub group_size: GroupSize,
    /// Store a zero point per group (readers other than bitsmith may refuse it)
    #[cfg_attr(feature = "cli", arg(long))]
    pub asymmetric: bool,
    /// Type that scales are rounded to: f32, f16 or bf16 (the file of an f32 model holds the rounded values in f32)
    #[cfg_attr(feature = "cli", arg(long, value_name = "TYPE", default_value_t = LearnedConfig::default().scale_type))]
    pub scale_type: Dtype,
    /// Steps of training for each block; 0 is round to nearest
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = LearnedConfig::default().iters))]
    pub iters: u32,
    /// Length of the first step, which falls to 0 in a line; 1/iters, or 2/iters up to 3 bits from 1000 iterations on
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f32>,
    /// Sequences of a step
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = LearnedConfig::default().batch_size))]
    pub batch_size: usize,
    /// Seed of the choice of sequences
    #[cfg_attr(feature = "cli", arg(long, default_value_t = LearnedConfig::default().seed))]
    pub seed: u32,
    /// Train the range of each group as well; `--enable-minmax-tuning=false` trains the rounding alone
    #[cfg_attr(feature = "cli", arg(
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = LearnedConfig::default().enable_minmax_tuning,
    ))]
    pub enable_minmax_tuning: bool,
    /// What a block is trained on: the outputs of the original blocks before it, or of the quantized ones
    #[cfg_attr(feature = "cli", arg(long, default_value_t = LearnedConfig::default().inputs))]
    pub inputs: Inputs,
    /// Share of the gradients before that a step goes by, below 1
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHARE", default_value_t = LearnedConfig::default().momentum))]
    pub momentum: f32,
    /// Sequences to learn from where nobody says how many, or as many as have 2^19 tokens if tuning follows and they are
    /// more; not recorded, since the data itself is
    #[cfg_attr(feature = "cli", arg(skip = LearnedConfig::default().samples))]
    #[serde(skip)]
    pub samples: usize,
    /// How ranges are trained: factors of each group's smallest and largest value, or its scale and zero point
    #[cfg_attr(feature = "cli", arg(long, default_value_t = LearnedConfig::default().ranges))]
    pub ranges: Ranges,
    /// Keep the parameters of the mini-batch with the lowest loss, as AutoRound does, instead of the last ones
    #[cfg_attr(feature = "cli", arg(long))]
    pub keep_best: bool,
    /// What follows when every block is done
    #[cfg_attr(feature = "cli", command(flatten))]
    pub tune: TuneConfig,
}

impl Default for LearnedConfig {
    fn default() -> Self {
        Self {
            bits: 4,
            group_size: GroupSize(Span::Group(128)),
            asymmetric: false,
            scale_type: Dtype::F16,
            iters: 200,
            lr: None,
            batch_size: 8,
            seed: 42,
            enable_minmax_tuning: true,
            inputs: Inputs::Quantized,
            momentum: 0.0,
            samples: 128,
            ranges: Ranges::Scales,
            keep_best: false,
            tune: TuneConfig::default(),
        }
    }
}

impl LearnedConfig {
    /// The scheme of every layer without a plan.
    ///
    /// # Errors
    /// [`Error::Config`] for bits or a group size that cannot be trained.
    pub fn scheme(&self) -> Result<Scheme> {
        self.group_size.refuse_tensor("trained")?;
        self.group_size.scheme(self.bits, self.asymmetric, self.scale_type)
    }

    /// Checks the settings by themselves.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting.
    pub fn check(&self) -> Result<()> {
        self.scheme()?;
        self.tune.check()?;
        if self.batch_size == 0 {
            return Err(Error::config("batch_size", "0; take at least 1"));
        }
        if let Some(lr) = self.lr.filter(|lr| !(lr.is_finite() && *lr > 0.0)) {
            return Err(Error::config("lr", format!("{lr} is not a number above 0")));
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(Error::config("momentum", format!("{} is not from 0 to below 1", self.momentum)));
        }
        Ok(())
    }

    /// Length of the first step for codes of this width.
    pub(super) fn rate(&self, bits: Bits) -> f32 {
        let iters = self.iters.max(1) as f32;
        let long = self.iters >= 1000 && bits.get() <= 3;
        self.lr.unwrap_or(if long { 2.0 / iters } else { 1.0 / iters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_iterations_and_bits() {
        let rate = |iters, bits, lr| {
            LearnedConfig { iters, lr, ..LearnedConfig::default() }.rate(Bits::new(bits).expect("a width"))
        };
        assert_eq!(rate(200, 2, None), 1.0 / 200.0);
        assert_eq!((rate(1000, 3, None), rate(1000, 4, None)), (2.0 / 1000.0, 1.0 / 1000.0));
        assert_eq!(rate(1000, 2, Some(0.005)), 0.005);
        assert_eq!(rate(0, 4, None), 1.0);
    }

    #[test]
    fn settings_are_recorded_whole() {
        let config = LearnedConfig { lr: Some(0.25), inputs: Inputs::Original, ..LearnedConfig::default() };
        let value = serde_json::to_value(&config).expect("plain values");
        assert_eq!(value["inputs"], "original");
        assert_eq!(serde_json::from_value::<LearnedConfig>(value).expect("it is its own"), config);
        assert!(serde_json::from_str::<LearnedConfig>(r#"{"iterations": 3}"#).is_err());
    }

    #[cfg(feature = "cli")]
    #[test]
    fn flags_carry_the_names_of_the_settings() {
        use clap::{Args, FromArgMatches};
        let parse = |flags: &str| {
            let command = LearnedConfig::augment_args(clap::Command::new("learned").no_binary_name(true));
            LearnedConfig::from_arg_matches(&command.get_matches_from(flags.split_whitespace())).expect("known flags")
        };
        assert_eq!(parse(""), LearnedConfig::default());
        let flags = "--bits 2 --asymmetric --iters 7 --lr 0.5 --batch-size 3 --seed 1 \
                     --enable-minmax-tuning=false --inputs original --momentum 0.9 --ranges bounds \
                     --keep-best --tune-iters 5 --tune-lr 0.5 --tune-batch-size 2";
        let config = LearnedConfig {
            bits: 2,
            asymmetric: true,
            iters: 7,
            lr: Some(0.5),
            batch_size: 3,
            seed: 1,
            enable_minmax_tuning: false,
            inputs: Inputs::Original,
            momentum: 0.9,
            ranges: Ranges::Bounds,
            keep_best: true,
            tune: TuneConfig { tune_iters: 5, tune_lr: Some(0.5), tune_batch_size: Some(2) },
            ..LearnedConfig::default()
        };
        assert_eq!(parse(flags), config);
        assert!(parse("--enable-minmax-tuning").enable_minmax_tuning);
    }
}
