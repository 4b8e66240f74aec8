//! What becomes of the activations that enter a quantized layer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::int8::{group_int8_with_bias, int8, int8_block};
use super::outliers::{add_outliers, split_outliers};
use super::token_int8::{int8_asymmetric, int8_static};
use super::{Activations, GroupWeight, gather_columns, group_with_bias};
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::pack::PackedTensor;

/// What the input of one layer becomes before it meets the layer's codes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerInput {
    /// f32, as the model has it.
    #[default]
    Exact,
    /// int8, with a scale for each block of [`int8_block`] features of a token.
    Blocks,
    /// int8, with a scale for each token: `absmax / 127` over all features.
    Tokens,
    /// int8 with a scale and a zero point for each token: 255 steps from its smallest to its largest value, 0 included.
    TokensAsymmetric,
    /// int8 with a scale and a zero point that are known beforehand: `x = (code - zero) * scale`. What is outside is
    /// clipped.
    Static {
        /// A step.
        scale: f32,
        /// The code of 0.
        zero: i8,
    },
    /// int8, with a scale for each token, but for the columns that hold an outlier among the tokens at hand: those are
    /// rounded to f16 and meet dequantized weights, or those that are kept in f16.
    Outliers {
        /// The magnitude from which on a value is an outlier.
        threshold: f32,
        /// Whether the weight is kept beside its codes.
        #[serde(default)]
        kept: bool,
    },
    /// Its features in another order, that of the codes: place `i` is taken by feature `columns[i]`.
    Ordered {
        /// Every feature once.
        columns: Vec<u32>,
        /// What it becomes after that.
        then: Box<LayerInput>,
    },
}

impl LayerInput {
    /// Whether it stays as it is.
    pub fn is_exact(&self) -> bool {
        *self == Self::Exact
    }

    /// What values become, in whatever order they are.
    pub fn rounding(&self) -> &Self {
        match self {
            Self::Ordered { then, .. } => then.rounding(),
            _ => self,
        }
    }

    /// The order of the features, if it is another than that of the model.
    pub fn columns(&self) -> Option<&[u32]> {
        match self {
            Self::Ordered { columns, .. } => Some(columns),
            _ => None,
        }
    }

    /// Whether codes have a zero point, so that a weight needs the sums of its rows.
    pub fn is_asymmetric(&self) -> bool {
        match self {
            Self::Exact | Self::Blocks | Self::Tokens | Self::Outliers { .. } => false,
            Self::TokensAsymmetric => true,
            Self::Static { zero, .. } => *zero != 0,
            Self::Ordered { then, .. } => then.is_asymmetric(),
        }
    }

    /// Uploads a weight with all that a product with such an input needs.
    ///
    /// # Errors
    /// As [`GroupWeight::upload`], [`GroupWeight::with_row_sums`], [`GroupWeight::with_kept`] and
    /// [`GroupWeight::with_order`].
    pub fn upload(&self, device: &Device, weight: &PackedTensor) -> Result<GroupWeight> {
        if let Self::Ordered { columns, then } = self {
            return then.upload(device, weight)?.with_order(device, columns);
        }
        let uploaded = GroupWeight::upload(device, weight)?;
        match self {
            Self::Outliers { kept: true, .. } => uploaded.with_kept(device, weight),
            _ if self.is_asymmetric() => uploaded.with_row_sums(device, weight),
            _ => Ok(uploaded),
        }
    }

    /// Applies a weight to `[rows, in_features]` whose values become this.
    ///
    /// # Errors
    /// [`Error::Shape`] if the width of `x` is another, and those of the device.
    pub fn apply(&self, rec: &mut Recorder, x: &Activations, weight: &GroupWeight) -> Result<Activations> {
        self.apply_with_bias(rec, x, weight, None)
    }

    /// [`Self::apply`] with a bias, f32 `[out_features]`, which the product with the codes adds; but for one that is watched,
    /// which has a gradient.
    ///
    /// # Errors
    /// As [`Self::apply`], and [`Error::Shape`] if the bias has another length.
    pub fn apply_with_bias(
        &self,
        rec: &mut Recorder,
        x: &Activations,
        weight: &GroupWeight,
        bias: Option<&Buffer>,
    ) -> Result<Activations> {
        let x = match self {
            Self::Exact => return group_with_bias(rec, x, weight, bias),
            Self::Blocks => int8(rec, x, int8_block(weight.scheme().span(), weight.cols()))?,
            Self::Tokens => int8(rec, x, weight.cols())?,
            Self::TokensAsymmetric => int8_asymmetric(rec, x)?,
            &Self::Static { scale, zero } => int8_static(rec, x, scale, zero)?,
            &Self::Outliers { threshold, .. } => {
                let split = split_outliers(rec, x, threshold)?;
                let rest = int8(rec, &split.inliers, weight.cols())?;
                let y = group_int8_with_bias(rec, &rest, weight, bias)?;
                add_outliers(rec, &split, weight, &y)?;
                return Ok(y);
            }
            Self::Ordered { then, .. } => {
                let Some(order) = weight.order() else {
                    let (expected, found) = ("a weight with the order of its columns".to_owned(), "none".to_owned());
                    return Err(Error::Shape { op: "layer input", expected, found });
                };
                let x = gather_columns(rec, x, order)?;
                return then.apply_with_bias(rec, &x, weight, bias);
            }
        };
        group_int8_with_bias(rec, &x, weight, bias)
    }
}

impl fmt::Display for LayerInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.pad("exact"),
            Self::Blocks => f.pad("int8 by block"),
            Self::Tokens => f.pad("int8 by token"),
            Self::TokensAsymmetric => f.pad("int8 by token, asymmetric"),
            Self::Outliers { threshold, kept } => {
                let kept = if *kept { ", f16 weights" } else { "" };
                write!(f, "int8 by token, outliers from {threshold}{kept}")
            }
            Self::Ordered { then, .. } if then.is_exact() => f.pad("in another order"),
            Self::Ordered { then, .. } => write!(f, "in another order, {then}"),
            Self::Static { scale, zero: 0 } => write!(f, "int8, scale {scale:.4e}"),
            Self::Static { scale, zero } => write!(f, "int8, scale {scale:.4e}, zero {zero}"),
        }
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
            (_, LayerInput::Ordered { columns, then }) => {
                LayerInput::Ordered { columns, then: Box::new(self.of(*then)) }
            }
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
