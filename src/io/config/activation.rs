//! The nonlinearity of a feed-forward block.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::{Error, Result};

/// Activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Phi(x)` with the error function.
    Gelu,
    /// The same with a tanh approximation of `Phi`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)^2`.
    Relu2,
}

impl Activation {
    /// The names that model files use, first the one that this crate prints.
    const NAMES: [(Self, &'static [&'static str]); 5] = [
        (Self::Silu, &["silu", "swish"]),
        (Self::Gelu, &["gelu"]),
        (Self::GeluTanh, &["gelu_tanh", "gelu_new", "gelu_pytorch_tanh", "gelu_fast"]),
        (Self::Relu, &["relu"]),
        (Self::Relu2, &["relu2"]),
    ];

    /// The name that this crate prints: `silu`, `gelu`, `gelu_tanh`, `relu`, `relu2`.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize].1[0]
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::NAMES.into_iter().find(|(_, names)| names.contains(&text)).map(|(activation, _)| activation).ok_or_else(
            || {
                let known: Vec<_> = Self::NAMES.iter().flat_map(|(_, names)| *names).copied().collect();
                Error::config("activation", format!("`{text}` is not one of {}", known.join(", ")))
            },
        )
    }
}
