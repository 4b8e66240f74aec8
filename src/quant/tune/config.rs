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
    /// Length of the longest step of tuning: of an offset in steps of the codes, of a scale in shares of it; 4e-3 at
    /// 2 bits, 2e-3 at more
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tune_lr: Option<f32>,
    /// Sequences of a step of tuning
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = TuneConfig::default().tune_batch_size))]
    pub tune_batch_size: usize,
}

impl Default for TuneConfig {
    fn default() -> Self {
        Self { tune_iters: 500, tune_lr: None, tune_batch_size: 16 }
    }
}

impl TuneConfig {
    /// No tuning.
    pub const NONE: Self = Self { tune_iters: 0, tune_lr: None, tune_batch_size: 16 };

    /// Checks the settings by themselves.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting.
    pub fn check(&self) -> Result<()> {
        if self.tune_batch_size == 0 {
            return Err(Error::config("tune_batch_size", "0; take at least 1"));
        }
        if let Some(lr) = self.tune_lr.filter(|lr| !(lr.is_finite() && *lr > 0.0)) {
            return Err(Error::config("tune_lr", format!("{lr} is not a number above 0")));
        }
        Ok(())
    }

    /// Length of the longest step for codes of this width.
    pub(super) fn rate(&self, bits: Bits) -> f32 {
        self.tune_lr.unwrap_or(if bits.get() <= 2 { 4e-3 } else { 2e-3 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_bits() {
        let rate =
            |bits, tune_lr| TuneConfig { tune_lr, ..TuneConfig::default() }.rate(Bits::new(bits).expect("a width"));
        assert_eq!([2, 3, 4, 8].map(|bits| rate(bits, None)), [4e-3, 2e-3, 2e-3, 2e-3]);
        assert_eq!(rate(2, Some(0.5)), 0.5);
    }
}
