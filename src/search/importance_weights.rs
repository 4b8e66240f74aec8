//! How measures of importance become one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How much each measure of importance counts, as shares that add up to 1; typed as `40,25,20,15`, in any unit.
///
/// ```
/// use bitsmith::search::ImportanceWeights;
/// let weights: ImportanceWeights = "2,1,1,0".parse()?;
/// assert_eq!((weights.rtn, weights.upgrade, weights.disable, weights.noise), (0.5, 0.25, 0.25, 0.0));
/// assert_eq!(ImportanceWeights::default().to_string(), "40,25,20,15");
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportanceWeights {
    /// RTN sensitivity.
    pub rtn: f64,
    /// Layer upgrade.
    pub upgrade: f64,
    /// Block disabled.
    pub disable: f64,
    /// Noise.
    pub noise: f64,
}

impl Default for ImportanceWeights {
    fn default() -> Self {
        Self { rtn: 0.4, upgrade: 0.25, disable: 0.2, noise: 0.15 }
    }
}

impl FromStr for ImportanceWeights {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let weights: Option<Vec<f64>> = text.split(',').map(|weight| weight.trim().parse().ok()).collect();
        let usable = |weights: &[f64; 4]| {
            let sum: f64 = weights.iter().sum();
            weights.iter().all(|weight| *weight >= 0.0) && sum > 0.0 && sum.is_finite()
        };
        match weights.and_then(|weights| <[f64; 4]>::try_from(weights).ok()).filter(usable) {
            Some(weights) => {
                let sum: f64 = weights.iter().sum();
                let [rtn, upgrade, disable, noise] = weights.map(|weight| weight / sum);
                Ok(Self { rtn, upgrade, disable, noise })
            }
            None => {
                let detail = format!("`{text}` is not four numbers from 0 up, such as 40,25,20,15");
                Err(Error::config("importance_weights", detail))
            }
        }
    }
}

impl fmt::Display for ImportanceWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 0.07 * 100 is not 7.
        let [a, b, c, d] = [self.rtn, self.upgrade, self.disable, self.noise].map(|w| (w * 1e12).round() / 1e10);
        write!(f, "{a},{b},{c},{d}")
    }
}
