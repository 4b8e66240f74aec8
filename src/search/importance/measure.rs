//! The ways to measure how important a layer or block is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What is done to a model to see how important a layer or block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// It alone is rounded to nearest, at each rung of the ladder.
    Rtn,
    /// Everything is at the lowest rung, and it alone is raised to the highest: what that recovers.
    Upgrade,
    /// It alone is disabled. A block gives what it is given. A layer computes with weights of zero and keeps its bias: a
    /// query or key then attends to everything alike, a value, output or feed-forward layer adds nothing.
    Disable,
    /// All weights get Gaussian noise, and it alone is as it was: what that recovers.
    Noise,
    /// Predicted, for each rung, from one way back through the model: see [`predicted`](super::predicted).
    Gradient,
}

impl Measure {
    /// All of them, the predicted one last.
    pub const ALL: [Self; 5] = [Self::Rtn, Self::Upgrade, Self::Disable, Self::Noise, Self::Gradient];

    /// Whether a high value means that restoring it repairs much, not that changing it breaks much.
    pub(super) fn recovers(self) -> bool {
        matches!(self, Self::Upgrade | Self::Noise)
    }

    /// Measures as people name them, with commas between; `all` is [`Self::ALL`].
    ///
    /// ```
    /// use bitsmith::search::Measure;
    /// assert_eq!(Measure::list("rtn,noise")?, [Measure::Rtn, Measure::Noise]);
    /// assert_eq!(Measure::list("all")?, Measure::ALL);
    /// assert!(Measure::list("rtn,magic").is_err());
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for a name that there is not, or one given twice.
    pub fn list(text: &str) -> Result<Vec<Self>> {
        if text == "all" {
            return Ok(Self::ALL.to_vec());
        }
        let mut list: Vec<Self> = text.split(',').map(str::parse).collect::<Result<_>>()?;
        let given = list.len();
        list.sort_unstable();
        list.dedup();
        match list.len() == given {
            true => Ok(list),
            false => Err(Error::config("measure", format!("`{text}` names one twice"))),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rtn => "rtn",
            Self::Upgrade => "upgrade",
            Self::Disable => "disable",
            Self::Noise => "noise",
            Self::Gradient => "gradient",
        })
    }
}

impl FromStr for Measure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|measure| measure.to_string() == text).ok_or_else(|| {
            Error::config("measure", format!("`{text}` is not one of rtn, upgrade, disable, noise, gradient, all"))
        })
    }
}
