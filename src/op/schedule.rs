//! How the length of a step changes in the course of a training.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How steps get shorter after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Not at all.
    Constant,
    /// To 0 in a line.
    #[default]
    Linear,
    /// To 0 along half a wave of a cosine.
    Cosine,
}

impl fmt::Display for Decay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
        })
    }
}

impl FromStr for Decay {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "constant" => Ok(Self::Constant),
            "linear" => Ok(Self::Linear),
            "cosine" => Ok(Self::Cosine),
            _ => Err(Error::config("decay", format!("`{text}` is not one of constant, linear, cosine"))),
        }
    }
}

/// A warm-up, in which steps grow from 0 in a line, and a decay to 0 at the end: the schedules that transformers calls
/// linear and cosine with warm-up, and PyTorch's `LinearLR` to 0 where there is no warm-up.
///
/// ```
/// use bitsmith::op::{Decay, Schedule};
/// let schedule = Schedule { steps: 10, warmup: 2, decay: Decay::Linear };
/// assert_eq!([0, 1, 2, 6, 10].map(|step| schedule.factor(step)), [0.0, 0.5, 1.0, 0.5, 0.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Steps of the whole training.
    pub steps: u32,
    /// Steps at its beginning that are a warm-up.
    pub warmup: u32,
    /// What comes after them.
    pub decay: Decay,
}

impl Schedule {
    /// What the length of the longest step is multiplied by for this one; the first step is 0.
    #[allow(clippy::cast_possible_truncation, reason = "a number from 0 to 1")]
    pub fn factor(&self, step: u32) -> f32 {
        let share = |part: u32, whole: u32| f64::from(part) / f64::from(whole.max(1));
        if step < self.warmup {
            return share(step, self.warmup) as f32;
        }
        let left = share(self.steps.saturating_sub(step), self.steps.saturating_sub(self.warmup));
        let factor = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => left,
            Decay::Cosine => 0.5 * (1.0 - (std::f64::consts::PI * left).cos()),
        };
        factor as f32
    }
}
