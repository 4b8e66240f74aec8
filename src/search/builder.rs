//! The settings of a search, one by one.

use super::budget::Increase;
use super::config::MixedPrecisionConfig;
use super::importance_weights::ImportanceWeights;
use super::ladder::BitsLadder;
use super::split::Split;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::ByteSize;

/// Makes a [`MixedPrecisionConfig`]. What is typed wrong is told of by [`Self::build`].
///
/// ```
/// use bitsmith::search::MixedPrecisionConfig;
/// let config = MixedPrecisionConfig::builder().target_size("2GB").bits_ladder("8,4,2").tied().build()?;
/// assert!(config.tied && config.target_size.is_some());
/// assert!(MixedPrecisionConfig::builder().max_perplexity_increase("5").build().is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct MixedPrecisionBuilder {
    config: MixedPrecisionConfig,
    fault: Option<Error>,
}

/// A setting that takes its value as it is.
macro_rules! plain {
    ($($(#[$doc:meta])+ $name:ident: $type:ty => $value:expr;)+) => {
        $($(#[$doc])+
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.config.$name = $value;
            self
        })+
    };
}

impl MixedPrecisionBuilder {
    pub(super) const fn new(config: MixedPrecisionConfig) -> Self {
        Self { config, fault: None }
    }

    /// Sets what was read, or keeps the first error.
    fn typed<T>(mut self, read: Result<T>, set: impl FnOnce(&mut MixedPrecisionConfig, T)) -> Self {
        match read {
            Ok(value) => set(&mut self.config, value),
            Err(error) => self.fault = self.fault.or(Some(error)),
        }
        self
    }

    /// Most that perplexity may grow: `5%` or `0.05`.
    #[must_use]
    pub fn max_perplexity_increase(self, increase: &str) -> Self {
        self.typed(increase.parse::<Increase>(), |config, value| config.max_perplexity_increase = Some(value))
    }

    /// Bytes of all tensors, such as `2GB`.
    #[must_use]
    pub fn target_size(self, size: &str) -> Self {
        self.typed(size.parse::<ByteSize>(), |config, value| config.target_size = Some(value))
    }

    /// Widths to choose from, such as `8,4,3,2,ternary`.
    #[must_use]
    pub fn bits_ladder(self, ladder: &str) -> Self {
        self.typed(ladder.parse::<BitsLadder>(), |config, value| config.bits_ladder = value)
    }

    /// Fewest and most input features that share a scale.
    #[must_use]
    pub fn group_sizes(mut self, min: usize, max: usize) -> Self {
        (self.config.min_group_size, self.config.max_group_size) = (min, max);
        self
    }

    /// One scheme for layers that loaders keep as one.
    #[must_use]
    pub fn tied(mut self) -> Self {
        self.config.tied = true;
        self
    }

    /// Stores zero points.
    #[must_use]
    pub fn asymmetric(mut self) -> Self {
        self.config.asymmetric = true;
        self
    }

    plain! {
        /// Largest mean divergence in nats a token.
        max_kl: f64 => Some(max_kl);
        /// Share of the model's bytes to save.
        target_memory_reduction: f64 => Some(target_memory_reduction);
        /// Bits of a weight on average.
        target_bits: f64 => Some(target_bits);
        /// How many times the budget is given out.
        safety_multiplier: f64 => safety_multiplier;
        /// How the budget is divided.
        split: Split => split;
        /// Weights of the measures of importance.
        importance_weights: ImportanceWeights => importance_weights;
        /// Sequences to quantize on.
        calib_samples: usize => calib_samples;
        /// Further sequences to check the whole model on.
        evaluation_samples: usize => evaluation_samples;
        /// Sequences that are computed at once.
        batch_size: usize => batch_size;
        /// Storage type of scales.
        scale_type: Dtype => scale_type;
        /// Steps of learned rounding for a block.
        learned_iters: u32 => learned_iters;
        /// Steps of tuning all blocks together.
        tune_iters: u32 => tune_iters;
        /// Sequences to tune on.
        tune_samples: usize => Some(tune_samples);
        /// Seed of noise and of the choice of sequences.
        seed: u32 => seed;
    }

    /// The settings.
    ///
    /// # Errors
    /// [`Error::Config`] for what was typed wrong, and as [`MixedPrecisionConfig::check`].
    pub fn build(self) -> Result<MixedPrecisionConfig> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.config.check()?;
        Ok(self.config)
    }
}
