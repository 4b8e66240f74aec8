//! Settings of tuning.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Settings of tuning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct TuneConfig {
    /// Steps of tuning all blocks together on the original's predictions, after each block by itself; 0 for none
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = TuneConfig::default().tune_iters))]
    pub tune_iters: u32,
    /// Length of the longest step of tuning: of an offset in steps of the codes, of a scale in shares of it
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE", default_value_t = TuneConfig::default().tune_lr))]
    pub tune_lr: f32,
    /// Sequences of a step of tuning
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = TuneConfig::default().tune_batch_size))]
    pub tune_batch_size: usize,
}

impl Default for TuneConfig {
    fn default() -> Self {
        Self { tune_iters: 0, tune_lr: 2e-3, tune_batch_size: 8 }
    }
}

impl TuneConfig {
    /// Checks the settings by themselves.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting.
    pub fn check(&self) -> Result<()> {
        if self.tune_batch_size == 0 {
            return Err(Error::config("tune_batch_size", "0; take at least 1"));
        }
        if !(self.tune_lr.is_finite() && self.tune_lr > 0.0) {
            return Err(Error::config("tune_lr", format!("{} is not a number above 0", self.tune_lr)));
        }
        Ok(())
    }
}
