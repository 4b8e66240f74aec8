//! Which outputs of the blocks before it a block is shown.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a block is calibrated on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inputs {
    /// What the original blocks before it give.
    Original,
    /// What the quantized blocks before it give.
    #[default]
    Quantized,
}

impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Original => "original",
            Self::Quantized => "quantized",
        })
    }
}

impl FromStr for Inputs {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "original" => Ok(Self::Original),
            "quantized" => Ok(Self::Quantized),
            _ => Err(Error::config("inputs", format!("`{text}` is not one of original, quantized"))),
        }
    }
}
