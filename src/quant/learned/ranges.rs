//! What is trained of a group's range.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What is trained of a group's range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ranges {
    /// Factors from 0 to 1 of its smallest and of its largest value, as AutoRound does.
    Bounds,
    /// Its scale and its zero point, without bounds.
    #[default]
    Scales,
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bounds => "bounds",
            Self::Scales => "scales",
        })
    }
}

impl FromStr for Ranges {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "bounds" => Ok(Self::Bounds),
            "scales" => Ok(Self::Scales),
            _ => Err(Error::config("ranges", format!("`{text}` is not one of bounds, scales"))),
        }
    }
}
