//! What becomes of the activations that enter a quantized layer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::int8::{group_int8, int8, int8_block};
use super::{Activations, GroupWeight, group};
use crate::device::Recorder;
use crate::error::{Error, Result};

/// What the input of one layer becomes before it meets the layer's codes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LayerInput {
    /// f32, as the model has it.
    #[default]
    Exact,
    /// int8, with a scale for each block of [`int8_block`] features of a token.
    Blocks,
    /// int8, with a scale for each token: `absmax / 127` over all features.
    Tokens,
}

impl LayerInput {
    /// Applies a weight to `[rows, in_features]` whose values become this.
    ///
    /// # Errors
    /// [`Error::Shape`] if the width of `x` is another, and those of the device.
    pub fn apply(&self, rec: &mut Recorder, x: &Activations, weight: &GroupWeight) -> Result<Activations> {
        let block = match self {
            Self::Exact => return group(rec, x, weight),
            Self::Blocks => int8_block(weight.scheme().span(), weight.cols()),
            Self::Tokens => weight.cols(),
        };
        let x = int8(rec, x, block)?;
        group_int8(rec, &x, weight)
    }
}

/// What somebody wants of the inputs of all quantized layers.
///
/// ```
/// use bitsmith::op::ActivationPrecision;
/// assert_eq!("int8".parse::<ActivationPrecision>()?, ActivationPrecision::Int8);
/// assert_eq!(ActivationPrecision::default().to_string(), "auto");
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationPrecision {
    /// What each layer of the checkpoint was made for; exact where it does not say.
    #[default]
    Auto,
    /// f32, as the model has them.
    Exact,
    /// Rounded to 8 bits anew at each layer, in the way the layer was made for, or else [`LayerInput::Blocks`]; the products
    /// are integers. Faster, and an approximation.
    Int8,
}

impl ActivationPrecision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Exact, Self::Int8];

    /// Name on the command line and in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Exact => "exact",
            Self::Int8 => "int8",
        }
    }

    /// What a layer's input becomes that was made for `own`.
    pub fn of(self, own: LayerInput) -> LayerInput {
        match (self, own) {
            (Self::Exact, _) => LayerInput::Exact,
            (Self::Int8, LayerInput::Exact) => LayerInput::Blocks,
            (Self::Auto | Self::Int8, own) => own,
        }
    }
}

impl fmt::Display for ActivationPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ActivationPrecision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| Error::config("activations", format!("`{text}` is not auto, exact or int8")))
    }
}
