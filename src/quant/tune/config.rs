//! Settings of tuning.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::scheme::Bits;

/// Settings of tuning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct TuneConfig {
    /// Steps of tuning all blocks together on the original's predictions, after each block by itself; 0 for none
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = TuneConfig::default().tune_iters))]
    pub tune_iters: u32,
    /// Length of the longest step of tuning: of an offset in steps of the codes, of a scale in shares of it
    /// [default: 0.1 over the root of --tune-iters at 2 bits, half of that at more]
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tune_lr: Option<f32>,
    /// Sequences of a step of tuning [default: as many as have 4096 tokens]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tune_batch_size: Option<usize>,
}

impl Default for TuneConfig {
    fn default() -> Self {
        Self { tune_iters: 1000, ..Self::NONE }
    }
}

/// Tokens to learn from. Tuning sees the whole model's predictions, and learns a short text by heart.
const TOKENS: usize = 1 << 19;
/// Tokens of a step.
const STEP: usize = 4096;

impl TuneConfig {
    /// No tuning.
    pub const NONE: Self = Self { tune_iters: 0, tune_lr: None, tune_batch_size: None };

    /// Checks the settings by themselves.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting.
    pub fn check(&self) -> Result<()> {
        if self.tune_batch_size == Some(0) {
            return Err(Error::config("tune_batch_size", "0; take at least 1"));
        }
        if let Some(lr) = self.tune_lr.filter(|lr| !(lr.is_finite() && *lr > 0.0)) {
            return Err(Error::config("tune_lr", format!("{lr} is not a number above 0")));
        }
        Ok(())
    }

    /// Length of the longest step for codes of this width. Steps of changing direction go as far as the root of their
    /// number, so that few long ones reach what many short ones do.
    pub(super) fn rate(&self, bits: Bits) -> f32 {
        let reach = if bits.get() == 2 { 0.1 } else { 0.05 };
        self.tune_lr.unwrap_or(reach / (self.tune_iters.max(1) as f32).sqrt())
    }

    /// Sequences of a step, if each has so many tokens.
    pub(super) fn batch(&self, tokens: usize) -> usize {
        self.tune_batch_size.unwrap_or((STEP / tokens.max(1)).max(1))
    }

    /// Sequences of so many tokens to learn from: no more than the steps get to see.
    pub(crate) fn samples(&self, tokens: usize) -> usize {
        (self.tune_iters as usize).saturating_mul(self.batch(tokens)).min(TOKENS / tokens.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_bits_number_and_length() {
        let rate = |bits, tune_iters, tune_lr| {
            let config = TuneConfig { tune_iters, tune_lr, ..TuneConfig::default() };
            config.rate(Bits::new(bits).expect("a width"))
        };
        assert_eq!([2, 3, 4, 8].map(|bits| rate(bits, 100, None)), [1e-2, 5e-3, 5e-3, 5e-3]);
        assert_eq!((rate(2, 400, None), rate(2, 0, None), rate(2, 7, Some(0.5))), (5e-3, 0.1, 0.5));
        let batch = |tokens| TuneConfig::default().batch(tokens);
        assert_eq!([1, 64, 256, 2048, 9999].map(batch), [4096, 64, 16, 2, 1]);
        assert_eq!(TuneConfig { tune_batch_size: Some(3), ..TuneConfig::default() }.batch(2048), 3);
        let samples = |tune_iters, tokens| TuneConfig { tune_iters, ..TuneConfig::NONE }.samples(tokens);
        assert_eq!((samples(1000, 256), samples(10, 256), samples(0, 256)), (2048, 160, 0));
    }
}
