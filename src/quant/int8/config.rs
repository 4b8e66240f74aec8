//! Settings of int8 quantization.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::calib::{KlDivergence, MeanSquaredError, MinMax, Percentile, RangeMethod};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::scheme::{Bits, Scheme, Span, Zero};

/// Settings of int8 quantization, as typed on the command line and as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct Int8Config {
    /// Scales of a weight: channel (one per output feature) or tensor (one in all)
    #[cfg_attr(feature = "cli", arg(long, value_name = "SPAN", default_value_t = Int8Config::default().granularity))]
    pub granularity: Granularity,
    /// Codes of a weight: symmetric (-127 to 127), asymmetric (0 to 255, with zero points), or auto (by the symmetry score
    /// of what the layer gives for a text)
    #[cfg_attr(feature = "cli", arg(long, value_name = "MODE", default_value_t = Int8Config::default().weight_mode))]
    pub weight_mode: Mode,
    /// What goes into a layer: dynamic (int8, with a scale for each token), static (int8, with one scale that is found
    /// beforehand), or none (as it is)
    #[cfg_attr(feature = "cli", arg(long, value_name = "KIND", default_value_t = Int8Config::default().activations))]
    pub activations: ActivationKind,
    /// Codes of what goes into a layer: symmetric, asymmetric (with zero points), or auto (by the symmetry score of what
    /// goes into it for a text)
    #[cfg_attr(feature = "cli", arg(long, value_name = "MODE", default_value_t = Int8Config::default().mode))]
    pub mode: Mode,
    /// With auto, layers whose symmetry score exp(-|mean| / (std + epsilon)) is above this are symmetric
    #[cfg_attr(feature = "cli", arg(long, value_name = "SCORE", default_value_t = Int8Config::default().symmetry_threshold))]
    pub symmetry_threshold: f64,
    /// Epsilon of the symmetry score
    #[cfg_attr(feature = "cli", arg(long, default_value_t = Int8Config::default().epsilon))]
    pub epsilon: f64,
    /// How the range of static activations is found: minmax, percentile, mse or kl
    #[cfg_attr(feature = "cli", arg(long, value_name = "RULE", default_value_t = Int8Config::default().calibration))]
    pub calibration: Calibration,
    /// Move what makes activations hard to round into the weights of layers that follow a norm, before all else: from 0
    /// to 1, the more the more goes there; 0.5 is usual (SmoothQuant)
    #[cfg_attr(feature = "cli", arg(long, value_name = "ALPHA"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smooth: Option<f64>,
    /// Sequences to look at; without --calib they are of a short text that comes with the program
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Int8Config::default().calib_samples))]
    pub calib_samples: usize,
    /// Type that scales are rounded to: f32, f16 or bf16
    #[cfg_attr(feature = "cli", arg(long, value_name = "TYPE", default_value_t = Int8Config::default().scale_type))]
    pub scale_type: Dtype,
}

impl Default for Int8Config {
    fn default() -> Self {
        Self {
            granularity: Granularity::Channel,
            weight_mode: Mode::Symmetric,
            activations: ActivationKind::Dynamic,
            mode: Mode::Auto,
            symmetry_threshold: 0.6,
            epsilon: 1e-8,
            calibration: Calibration::MinMax,
            smooth: None,
            calib_samples: 32,
            scale_type: Dtype::F32,
        }
    }
}

impl Int8Config {
    /// # Errors
    /// [`Error::Config`] for a setting outside its range.
    pub(super) fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.symmetry_threshold) {
            let detail = format!("{} is not from 0 to 1, where scores are; 0.6 is usual", self.symmetry_threshold);
            return Err(Error::config("symmetry_threshold", detail));
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(Error::config("epsilon", format!("{} is no small number above 0, such as 1e-8", self.epsilon)));
        }
        if self.calib_samples == 0 {
            return Err(Error::config("calib_samples", "0; take at least 1"));
        }
        let dynamic = self.activations != ActivationKind::Static;
        if dynamic && self.calibration != Calibration::MinMax {
            let detail = format!("`{}` is for --activations static; leave one of them out", self.calibration);
            return Err(Error::config("calibration", detail));
        }
        if let Some(alpha) = self.smooth.filter(|alpha| !(0.0..=1.0).contains(alpha)) {
            return Err(Error::config("smooth", format!("{alpha} is not from 0 to 1; 0.5 is usual")));
        }
        if self.activations == ActivationKind::None && self.smooth.is_some() {
            return Err(Error::config("smooth", "it is for int8 activations, and --activations is none; leave it out"));
        }
        if self.activations == ActivationKind::None && !matches!(self.mode, Mode::Auto) {
            let detail = format!("`{}` is for int8 activations, and --activations is none; leave it out", self.mode);
            return Err(Error::config("mode", detail));
        }
        Ok(())
    }

    /// Whether a text decides anything.
    pub(super) fn needs_text(&self) -> bool {
        let inputs = match self.activations {
            ActivationKind::Dynamic => self.mode == Mode::Auto,
            ActivationKind::Static => true,
            ActivationKind::None => false,
        };
        inputs || self.weight_mode == Mode::Auto || self.smooth.is_some()
    }

    /// The scheme of a weight.
    pub(super) fn scheme(&self, symmetric: bool) -> Result<Scheme> {
        let span = match self.granularity {
            Granularity::Channel => Span::Channel,
            Granularity::Tensor => Span::Tensor,
        };
        let zero = if symmetric { Zero::Symmetric } else { Zero::Stored };
        Ok(Scheme::new(Bits::new(8)?, span, zero).with_scale_type(self.scale_type))
    }
}

/// Names of the values of a setting: [`fmt::Display`] and [`FromStr`] by them.
macro_rules! named {
    ($setting:ty, $field:literal, [$($value:ident $name:literal),+]) => {
        impl fmt::Display for $setting {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$value => $name),+ })
            }
        }

        impl FromStr for $setting {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($name => Ok(Self::$value),)+
                    _ => Err(Error::config($field, format!("`{text}` is not one of {}", [$($name),+].join(", ")))),
                }
            }
        }
    };
}

/// Weights that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// Those of an output feature.
    Channel,
    /// All.
    Tensor,
}
named!(Granularity, "granularity", [Channel "channel", Tensor "tensor"]);

/// Whether codes have a zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They have none.
    Symmetric,
    /// They have one.
    Asymmetric,
    /// The symmetry score of each layer decides.
    Auto,
}
named!(Mode, "mode", [Symmetric "symmetric", Asymmetric "asymmetric", Auto "auto"]);

/// What becomes of what goes into a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationKind {
    /// int8, with a scale for each token, found when it comes.
    Dynamic,
    /// int8, with one scale, found beforehand.
    Static,
    /// Nothing.
    None,
}
named!(ActivationKind, "activations", [Dynamic "dynamic", Static "static", None "none"]);

/// How the range of static activations is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Calibration {
    /// All values that were seen.
    MinMax,
    /// All but one value in ten thousand.
    Percentile,
    /// The least squared error.
    Mse,
    /// The least divergence of the histograms.
    Kl,
}
named!(Calibration, "calibration", [MinMax "minmax", Percentile "percentile", Mse "mse", Kl "kl"]);

impl Calibration {
    /// The method.
    pub(super) fn method(self) -> Box<dyn RangeMethod> {
        match self {
            Self::MinMax => Box::new(MinMax),
            Self::Percentile => Box::new(Percentile::default()),
            Self::Mse => Box::new(MeanSquaredError),
            Self::Kl => Box::new(KlDivergence),
        }
    }
}
