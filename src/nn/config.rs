//! What a layer that trains is quantized to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::op::LayerInput;
use crate::scheme::{Bits, Scheme, Span, Zero};

/// What weights become.
///
/// ```
/// use bitsmith::nn::WeightPrecision;
/// assert_eq!("ternary".parse::<WeightPrecision>()?, WeightPrecision::Ternary);
/// assert_eq!("int4".parse::<WeightPrecision>()?.to_string(), "int4");
/// assert_eq!("4".parse::<WeightPrecision>()?, "int4".parse()?);
/// assert!("int5".parse::<WeightPrecision>().is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightPrecision {
    /// f32, as they are.
    Float,
    /// -1, 0 and 1 times the mean magnitude.
    #[default]
    Ternary,
    /// Symmetric integers.
    Bits(Bits),
}

impl fmt::Display for WeightPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float => f.pad("float"),
            Self::Ternary => f.pad("ternary"),
            Self::Bits(bits) => f.pad(&format!("int{bits}")),
        }
    }
}

impl FromStr for WeightPrecision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bits = || text.strip_prefix("int").unwrap_or(text).parse().ok().and_then(|bits| Bits::new(bits).ok());
        match text {
            "float" => Ok(Self::Float),
            "ternary" => Ok(Self::Ternary),
            _ => bits().map(Self::Bits).ok_or_else(|| {
                Error::config("weights", format!("`{text}` is not one of float, ternary, int2, int3, int4, int8"))
            }),
        }
    }
}

/// What activations become before they meet quantized weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputPrecision {
    /// f32, as they are.
    Float,
    /// Codes from -127 to 127 with the scale `absmax / 127` for each token.
    #[default]
    Int8,
}

impl fmt::Display for InputPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Float => "float",
            Self::Int8 => "int8",
        })
    }
}

impl FromStr for InputPrecision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "float" => Ok(Self::Float),
            "int8" => Ok(Self::Int8),
            _ => Err(Error::config("activations", format!("`{text}` is not one of float, int8"))),
        }
    }
}

/// What a layer is quantized to, and whether it has a bias. In a file:
/// `{"weights": "ternary", "activations": "int8", "granularity": "tensor", "bias": true}`; the weights are `float`, `ternary`,
/// `int2`, `int3`, `int4` or `int8`, the activations `float` or `int8`; the granularity is `tensor`, `channel` or the number of
/// input features that share a scale. What is left out is as in [`BitLinearConfig::default`].
///
/// ```
/// use bitsmith::nn::{BitLinearConfig, WeightPrecision};
/// let config: BitLinearConfig = serde_json::from_str(r#"{"weights": "int4", "granularity": "channel"}"#).unwrap();
/// assert_eq!(config.scheme().unwrap().to_string(), "w4cs-f32");
/// assert_eq!(BitLinearConfig::default().weights, WeightPrecision::Ternary);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BitLinearConfig {
    /// What weights become.
    pub weights: WeightPrecision,
    /// What activations become; of a float layer they stay as they are, whatever this says.
    pub activations: InputPrecision,
    /// Which weights share a scale.
    #[serde(serialize_with = "write_span", deserialize_with = "read_span")]
    pub granularity: Span,
    /// Whether a bias is added, f32.
    pub bias: bool,
}

impl Default for BitLinearConfig {
    /// Ternary weights with one scale, int8 activations, a bias.
    fn default() -> Self {
        let (weights, activations) = (WeightPrecision::default(), InputPrecision::default());
        Self { weights, activations, granularity: Span::Tensor, bias: true }
    }
}

impl BitLinearConfig {
    /// A layer that is not quantized.
    pub fn float() -> Self {
        Self { weights: WeightPrecision::Float, activations: InputPrecision::Float, ..Self::default() }
    }

    /// What codes of the weights mean; none for a float layer.
    pub fn scheme(&self) -> Option<Scheme> {
        let bits = match self.weights {
            WeightPrecision::Float => return None,
            WeightPrecision::Ternary => Bits::TERNARY,
            WeightPrecision::Bits(bits) => bits,
        };
        Some(Scheme::new(bits, self.granularity, Zero::Symmetric).with_scale_type(Dtype::F32))
    }

    /// What activations become before they meet the weights.
    pub fn input(&self) -> LayerInput {
        match (self.weights, self.activations) {
            (WeightPrecision::Float, _) | (_, InputPrecision::Float) => LayerInput::Exact,
            (WeightPrecision::Ternary | WeightPrecision::Bits(_), InputPrecision::Int8) => LayerInput::Tokens,
        }
    }
}

impl fmt::Display for BitLinearConfig {
    /// `w1.58ts-f32 int8`, `float`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.scheme(), self.input()) {
            (None, _) => f.write_str("float"),
            (Some(scheme), LayerInput::Exact) => write!(f, "{scheme}"),
            (Some(scheme), _) => write!(f, "{scheme} int8"),
        }
    }
}

impl Serialize for WeightPrecision {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WeightPrecision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A granularity in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Granularity {
    Word(String),
    Number(usize),
}

fn write_span<S: Serializer>(span: &Span, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match span {
        Span::Tensor => Granularity::Word("tensor".into()),
        Span::Channel => Granularity::Word("channel".into()),
        Span::Group(size) => Granularity::Number((*size).into()),
    }
    .serialize(serializer)
}

fn read_span<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Span, D::Error> {
    let wrong =
        |found: &str| serde::de::Error::custom(format!("granularity {found} is not tensor, channel or a number"));
    match Granularity::deserialize(deserializer).map_err(|_| wrong("of this type"))? {
        Granularity::Word(word) if word == "tensor" => Ok(Span::Tensor),
        Granularity::Word(word) if word == "channel" => Ok(Span::Channel),
        Granularity::Word(word) => Err(wrong(&format!("`{word}`"))),
        Granularity::Number(size) => Span::group(size).map_err(serde::de::Error::custom),
    }
}
