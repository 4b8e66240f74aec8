//! Settings of a search for mixed precision.

use serde::{Deserialize, Serialize};

use super::budget::{Budgets, Goal, Increase, Target};
use super::builder::MixedPrecisionBuilder;
use super::importance_weights::ImportanceWeights;
use super::ladder::{BitsLadder, Ladder};
use super::split::Split;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::ByteSize;
use crate::scheme::Zero;

/// Settings of gradual quantization, as typed on the command line and as recorded.
///
/// ```
/// use bitsmith::search::{Budgets, Goal, MixedPrecisionConfig};
/// let config = MixedPrecisionConfig::builder().max_perplexity_increase("1%").bits_ladder("8,4,2").build()?;
/// let budgets = Budgets { perplexity: Some("1%".parse()?), kl: None };
/// assert_eq!(config.goal()?, Goal::Quality(budgets));
/// assert!(MixedPrecisionConfig::builder().target_bits(3.2).max_kl(0.01).build().is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct MixedPrecisionConfig {
    /// Most that perplexity may grow, as 5% or 0.05: the fewest bytes within it are looked for [default: 5% where no other
    /// budget or target is given]
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHARE"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_perplexity_increase: Option<Increase>,
    /// Largest mean KL divergence from the original's predictions, in nats a token; alone or beside the increase
    #[cfg_attr(feature = "cli", arg(long, value_name = "NATS"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_kl: Option<f64>,
    /// Share of the model's bytes to save, such as 0.6, with the best quality that is left
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHARE"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_memory_reduction: Option<f64>,
    /// Bits of a weight of the quantized layers on average, scales and zero points counted, such as 3.2
    #[cfg_attr(feature = "cli", arg(long, value_name = "BITS"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_bits: Option<f64>,
    /// Bytes of all tensors of the new model, such as 2GB
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_size: Option<ByteSize>,
    /// Widths to choose from: 8, 4, 3, 2 and ternary, with commas between them
    #[cfg_attr(feature = "cli", arg(long, value_name = "BITS", default_value_t = Self::default().bits_ladder))]
    pub bits_ladder: BitsLadder,
    /// Fewest input features that share a scale
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().min_group_size))]
    pub min_group_size: usize,
    /// Most input features that share a scale; sizes between the two are halves of it
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().max_group_size))]
    pub max_group_size: usize,
    /// What is allowed to single layers adds up to so many times the budget; what is measured of all together has the last
    /// word
    #[cfg_attr(feature = "cli", arg(long, value_name = "FACTOR", default_value_t = Self::default().safety_multiplier))]
    pub safety_multiplier: f64,
    /// How the budget is divided among layers: loss-per-byte (those that save most bytes for what they cost), or source (the
    /// more important a layer, the more it may cost, as Bitween gradual does)
    #[cfg_attr(feature = "cli", arg(long, value_name = "RULE", default_value_t = Self::default().split))]
    pub split: Split,
    /// Weights of the measures of importance, in any unit: RTN sensitivity, layer upgrade, block disabled, noise
    #[cfg_attr(feature = "cli", arg(
        long,
        value_name = "RTN,UPGRADE,DISABLE,NOISE",
        default_value_t = Self::default().importance_weights,
    ))]
    pub importance_weights: ImportanceWeights,
    /// Sequences to quantize on and to decide by: so many, or of shorter ones as many as have the tokens of so many with 256
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().calib_samples))]
    pub calib_samples: usize,
    /// Further sequences to check the whole model on, used for nothing else: so many of 256 tokens, more of shorter ones, fewer of
    /// longer ones
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().evaluation_samples))]
    pub evaluation_samples: usize,
    /// Sequences that are computed at once
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().batch_size))]
    pub batch_size: usize,
    /// One scheme for the query, key and value layers of a block, and one for its gate and up layers: what loaders need that
    /// keep these as one
    #[cfg_attr(feature = "cli", arg(long))]
    pub tied: bool,
    /// Store a zero point per group (readers other than bitsmith may refuse it)
    #[cfg_attr(feature = "cli", arg(long))]
    pub asymmetric: bool,
    /// Type that scales are rounded to: f32, f16 or bf16
    #[cfg_attr(feature = "cli", arg(long, value_name = "TYPE", default_value_t = Self::default().scale_type))]
    pub scale_type: Dtype,
    /// Steps of learned rounding for a block where cheaper codes are not good enough; 0 does without
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().learned_iters))]
    pub learned_iters: u32,
    /// Steps of tuning all blocks together on the original's predictions, once a plan is in place: what that makes good is
    /// room for fewer bytes; 0 does without
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().tune_iters))]
    pub tune_iters: u32,
    /// Sequences to tune on: those to quantize on, and further ones [default: as many as the steps get to see, of up to 524288
    /// tokens together]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tune_samples: Option<usize>,
    /// Seed of noise and of the choice of sequences
    #[cfg_attr(feature = "cli", arg(long, default_value_t = Self::default().seed))]
    pub seed: u32,
}

/// The budget where nothing is asked for.
const DEFAULT_INCREASE: f64 = 0.05;

impl Default for MixedPrecisionConfig {
    fn default() -> Self {
        Self {
            max_perplexity_increase: None,
            max_kl: None,
            target_memory_reduction: None,
            target_bits: None,
            target_size: None,
            bits_ladder: BitsLadder::default(),
            min_group_size: 16,
            max_group_size: 128,
            safety_multiplier: 2.0,
            split: Split::LossPerByte,
            importance_weights: ImportanceWeights::default(),
            calib_samples: 128,
            evaluation_samples: 256,
            batch_size: 8,
            tied: false,
            asymmetric: false,
            scale_type: Dtype::F16,
            learned_iters: 200,
            tune_iters: 300,
            tune_samples: None,
            seed: 42,
        }
    }
}

impl MixedPrecisionConfig {
    /// Settings one by one, from the default ones.
    pub fn builder() -> MixedPrecisionBuilder {
        MixedPrecisionBuilder::new(Self::default())
    }

    /// The settings of Bitween gradual, and its split rule. Its percent are fractions here, and its divergence is in nats.
    ///
    /// ```
    /// use bitsmith::search::{MixedPrecisionConfig, Split};
    /// let config = MixedPrecisionConfig::source();
    /// assert_eq!((config.split, config.evaluation_samples), (Split::Source, 5));
    /// assert_eq!(config.ladder()?.schemes().len(), 9);
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    pub fn source() -> Self {
        Self {
            max_perplexity_increase: Increase::new(0.05).ok(),
            max_kl: Some(0.01),
            bits_ladder: BitsLadder::source(),
            min_group_size: 32,
            split: Split::Source,
            evaluation_samples: 5,
            batch_size: 4,
            asymmetric: true,
            tune_iters: 0,
            ..Self::default()
        }
    }

    /// What is to be reached.
    ///
    /// # Errors
    /// [`Error::Config`] for two targets, for a target beside a budget, and for values that none can have.
    pub fn goal(&self) -> Result<Goal> {
        let targets = [
            self.target_memory_reduction.map(|share| ("target_memory_reduction", Target::MemoryReduction(share))),
            self.target_bits.map(|bits| ("target_bits", Target::Bits(bits))),
            self.target_size.map(|size| ("target_size", Target::Size(size))),
        ];
        let mut targets = targets.into_iter().flatten();
        let Some((field, target)) = targets.next() else { return self.budgets().map(Goal::Quality) };
        if let Some((other, _)) = targets.next() {
            return Err(Error::config(other, format!("{field} says the size already; leave one of them out")));
        }
        if self.max_perplexity_increase.is_some() || self.max_kl.is_some() {
            let detail = "it says how small the model becomes, and a budget how good it stays; leave one of them out";
            return Err(Error::config(field, detail));
        }
        match target {
            Target::MemoryReduction(share) if !(share > 0.0 && share < 1.0) => {
                let nearest = if share >= 1.0 { "60 % fewer bytes are 0.6" } else { "0.6 is 60 % fewer bytes" };
                Err(Error::config(field, format!("{share} is not between 0 and 1; {nearest}")))
            }
            Target::Bits(bits) if !(bits > 0.0 && bits <= 32.0) => {
                Err(Error::config(field, format!("{bits} is not above 0 and at most 32; 3.2 is usual")))
            }
            target => Ok(Goal::Size(target)),
        }
    }

    /// The name of a setting that says what is to be reached, if one is given.
    pub(super) fn given_goal(&self) -> Option<&'static str> {
        let goals = [
            ("max_perplexity_increase", self.max_perplexity_increase.is_some()),
            ("max_kl", self.max_kl.is_some()),
            ("target_memory_reduction", self.target_memory_reduction.is_some()),
            ("target_bits", self.target_bits.is_some()),
            ("target_size", self.target_size.is_some()),
        ];
        goals.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    fn budgets(&self) -> Result<Budgets> {
        if let Some(kl) = self.max_kl.filter(|kl| !(kl.is_finite() && *kl >= 0.0)) {
            return Err(Error::config(
                "max_kl",
                format!("{kl} is not a number from 0 up, in nats a token; 0.01 is usual"),
            ));
        }
        let perplexity = match (self.max_perplexity_increase, self.max_kl) {
            (None, None) => Some(Increase::new(DEFAULT_INCREASE)?),
            (given, _) => given,
        };
        Ok(Budgets { perplexity, kl: self.max_kl })
    }

    /// Whether all blocks are tuned together: where a layer may become ternary they are not, as its codes have no offsets.
    pub(super) fn tunes(&self) -> bool {
        self.tune_iters > 0 && !self.bits_ladder.bits().iter().any(|bits| bits.is_ternary())
    }

    /// The schemes to choose from.
    ///
    /// # Errors
    /// [`Error::Config`] for group sizes that there are not.
    pub fn ladder(&self) -> Result<Ladder> {
        let (min, max) = (self.min_group_size, self.max_group_size);
        for (field, size) in [("min_group_size", min), ("max_group_size", max)] {
            if !(16..=1024).contains(&size) {
                return Err(Error::config(field, format!("{size} is not between 16 and 1024")));
            }
        }
        if min > max {
            let detail = format!("{min} is above the largest size, {max}; the nearest possible is {max}");
            return Err(Error::config("min_group_size", detail));
        }
        let sizes: Vec<_> = std::iter::successors(Some(max), |size| Some(size / 2)).take_while(|s| *s >= min).collect();
        let zero = if self.asymmetric { Zero::Stored } else { Zero::Symmetric };
        Ladder::new(&self.bits_ladder, &sizes, zero, self.scale_type)
    }

    /// Checks the settings against each other.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting.
    pub fn check(&self) -> Result<()> {
        self.goal()?;
        self.ladder()?;
        if !(self.safety_multiplier >= 1.0 && self.safety_multiplier.is_finite()) {
            let detail = format!("{} is below 1, or no number; 2 is usual", self.safety_multiplier);
            return Err(Error::config("safety_multiplier", detail));
        }
        let weights = &self.importance_weights;
        if ![weights.rtn, weights.upgrade, weights.disable, weights.noise].iter().all(|w| *w >= 0.0 && w.is_finite()) {
            return Err(Error::config("importance_weights", format!("{weights} are not numbers from 0 up")));
        }
        if self.tune_samples.is_some() && !self.tunes() {
            let detail = "nothing is tuned with --tune-iters 0, or with ternary in the ladder; leave one of them out";
            return Err(Error::config("tune_samples", detail));
        }
        let counts = [
            ("tune_samples", self.tune_samples.unwrap_or(1)),
            ("calib_samples", self.calib_samples),
            ("evaluation_samples", self.evaluation_samples),
            ("batch_size", self.batch_size),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((field, _)) => Err(Error::config(field, "0; take at least 1")),
            None => Ok(()),
        }
    }
}
