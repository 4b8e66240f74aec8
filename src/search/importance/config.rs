//! Settings of an analysis.

use serde::{Deserialize, Serialize};

use super::{Combination, Measure};
use crate::error::{Error, Result};
use crate::scheme::Scheme;

/// What layers are changed to, and how findings become scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportanceConfig {
    /// The rungs of the ladder, the one with the most bits first.
    pub rungs: Vec<Scheme>,
    /// Standard deviation of the noise, as a share of that of a layer's weights.
    pub noise: f32,
    /// Seed of the noise.
    pub seed: u32,
    /// How the measures become one score.
    pub combination: Combination,
}

impl Default for ImportanceConfig {
    /// 8, 4, 3 and 2 bits in groups of 32, noise of a tenth.
    fn default() -> Self {
        use crate::scheme::{Bits, Span, Zero};
        let rung = |bits| Scheme::new(bits, Span::Group(32), Zero::Symmetric);
        Self {
            rungs: Bits::ALL.into_iter().rev().map(rung).collect(),
            noise: 0.1,
            seed: 42,
            combination: Combination::default(),
        }
    }
}

impl ImportanceConfig {
    /// Checks the settings for these measures.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting.
    pub fn check(&self, measures: &[Measure]) -> Result<()> {
        let least = if measures.contains(&Measure::Upgrade) { 2 } else { 1 };
        let wants = |measure: &Measure| !matches!(measure, Measure::Disable | Measure::Noise);
        if measures.iter().any(wants) && self.rungs.len() < least {
            let detail = format!("{} rungs; {least} at least are needed", self.rungs.len());
            return Err(Error::config("bits_ladder", detail));
        }
        if !(self.noise.is_finite() && self.noise > 0.0) {
            return Err(Error::config("noise", format!("{} is not a number above 0", self.noise)));
        }
        let four = self.rungs.iter().any(|rung| rung.bits().get() == 4);
        let source = [Measure::Rtn, Measure::Noise].iter().all(|measure| measures.contains(measure)) && four;
        if self.combination == Combination::Source && !source {
            let detail = "`source` needs noise and rtn at 4 bits; measure them as well, or give other weights";
            return Err(Error::config("weights", detail));
        }
        Ok(())
    }
}
