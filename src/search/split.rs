//! Who may cost how much.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the budget is divided among layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The plan with the fewest bytes whose losses add up to the budget: [`super::PrecisionOptimizer`].
    LossPerByte,
    /// That of Bitween gradual: [`super::source_budgets`].
    Source,
}

impl Split {
    const ALL: [(Self, &str); 2] = [(Self::LossPerByte, "loss-per-byte"), (Self::Source, "source")];
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LossPerByte => "loss-per-byte",
            Self::Source => "source",
        })
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|(_, name)| *name == text);
        named.map(|(split, _)| split).ok_or_else(|| {
            let names = Self::ALL.map(|(_, name)| name).join(", ");
            Error::config("split", format!("`{text}` is not one of {names}"))
        })
    }
}
