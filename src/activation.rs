//! Activation functions by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// An activation function.
///
/// Prints as its usual name and parses from the names in a Hugging Face `config.json`: `silu`, `swish`; `gelu`;
/// `gelu_new`, `gelu_fast`, `gelu_pytorch_tanh`; `relu`; `relu2`; and from `sigmoid`.
///
/// ```
/// use bitsmith::Activation;
/// let activation: Activation = "gelu_new".parse()?;
/// assert_eq!(activation, Activation::GeluTanh);
/// assert!((activation.apply(1.0) - 0.841192).abs() < 1e-6);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Phi(x)`, Phi the normal distribution function.
    Gelu,
    /// GELU with Phi approximated by a tanh.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)^2`.
    ReluSquared,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// Largest exponent that is formed: its exponential, and that plus one, are far from overflow.
const MAX_EXPONENT: f32 = 80.0;

impl Activation {
    /// Every function.
    pub const ALL: [Self; 6] = [Self::Silu, Self::Gelu, Self::GeluTanh, Self::Relu, Self::ReluSquared, Self::Sigmoid];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_pytorch_tanh",
            Self::Relu => "relu",
            Self::ReluSquared => "relu2",
            Self::Sigmoid => "sigmoid",
        }
    }

    /// The function. Finite for every finite x whose result is in range: no intermediate value overflows.
    pub fn apply(self, x: f32) -> f32 {
        self.apply_with(x, f32::exp)
    }

    /// [`Self::apply`] by this exponential, whose argument is at most 80 and may lie far below 0.
    #[inline(always)]
    pub(crate) fn apply_with(self, x: f32, exp: impl Fn(f32) -> f32) -> f32 {
        match self {
            Self::Silu => x / (1.0 + exp((-x).min(MAX_EXPONENT))),
            Self::Gelu => x.max(0.0) - 0.5 * x.abs() * two_sided_tail(x.abs(), exp),
            Self::GeluTanh => {
                // (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), and 2u = x * (a + b * x^2); beyond 16 the result is x or 0.
                let near = x.clamp(-16.0, 16.0);
                let exponent = -near * (1.595_769_2 + 0.071_354_814 * near * near);
                x / (1.0 + exp(exponent.min(MAX_EXPONENT)))
            }
            Self::Relu => x.max(0.0),
            Self::ReluSquared => x.max(0.0) * x.max(0.0),
            Self::Sigmoid => 1.0 / (1.0 + exp((-x).min(MAX_EXPONENT))),
        }
    }
}

/// `1 / sqrt(2 pi)`.
const NORMAL_DENSITY: f32 = 0.398_942_3;

impl Activation {
    /// The derivative of the function; at 0, where ReLU has none, 0.
    pub fn slope(self, x: f32) -> f32 {
        self.slope_with(x, f32::exp)
    }

    /// [`Self::slope`] by this exponential, as [`Self::apply_with`].
    #[inline(always)]
    pub(crate) fn slope_with(self, x: f32, exp: impl Fn(f32) -> f32) -> f32 {
        match self {
            Self::Silu => {
                let near = x.clamp(-MAX_EXPONENT, MAX_EXPONENT);
                let sigmoid = 1.0 / (1.0 + exp(-near));
                sigmoid * (1.0 + near * (1.0 - sigmoid))
            }
            Self::Gelu => {
                let density = NORMAL_DENSITY * exp((-0.5 * x * x).max(-MAX_EXPONENT));
                let tail = 0.5 * two_sided_tail(x.abs(), exp);
                let below = if x < 0.0 { tail } else { 1.0 - tail };
                below + x.clamp(-16.0, 16.0) * density
            }
            Self::GeluTanh => {
                let near = x.clamp(-16.0, 16.0);
                let exponent = -near * (1.595_769_2 + 0.071_354_814 * near * near);
                let sigmoid = 1.0 / (1.0 + exp(exponent.clamp(-MAX_EXPONENT, MAX_EXPONENT)));
                sigmoid + near * sigmoid * (1.0 - sigmoid) * (1.595_769_2 + 0.214_064_44 * near * near)
            }
            Self::Relu => f32::from(x > 0.0),
            Self::ReluSquared => 2.0 * x.max(0.0),
            Self::Sigmoid => {
                let sigmoid = 1.0 / (1.0 + exp(-x.clamp(-MAX_EXPONENT, MAX_EXPONENT)));
                sigmoid * (1.0 - sigmoid)
            }
        }
    }
}

/// `erfc(x / sqrt(2))` for x >= 0, within 2e-7: the chance that a normal variable lies further from 0 than x. Its
/// logarithm over x is smooth; the polynomial is a minimax fit of that on 0..6, weighted by the error it causes in GELU,
/// and keeps falling beyond, where the tail is below 2e-9.
#[inline(always)]
fn two_sided_tail(x: f32, exp: impl Fn(f32) -> f32) -> f32 {
    const FIT: [f32; 8] = [
        -7.978_857e-1,
        -3.182_938e-1,
        -3.640_768_7e-2,
        4.932_119_5e-3,
        -1.280_692_1e-4,
        -1.130_411_3e-4,
        2.344_722_3e-5,
        -1.604_432_2e-6,
    ];
    let x = x.min(10.0);
    let slope = FIT.iter().rev().fold(0.0, |sum, c| sum * x + c);
    exp(x * slope)
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Activation {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Activation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "silu" | "swish" => Ok(Self::Silu),
            "gelu" => Ok(Self::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Self::GeluTanh),
            "relu" => Ok(Self::Relu),
            "relu2" => Ok(Self::ReluSquared),
            "sigmoid" => Ok(Self::Sigmoid),
            _ => {
                let names = Self::ALL.map(Self::name).join(", ");
                Err(Error::config("activation", format!("`{name}` is unknown; known are {names}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fit of the tail is within 8e-8 and enters with half of |x|, which f32 adds a rounding or two to.
    const GELU_ERROR: f64 = 2e-7;
    /// Rounding of a quotient, a sum and an exponential of f32.
    const SIGMOID_ERROR: f64 = 4.0 * f32::EPSILON as f64;

    /// The normal distribution function: 1/2 + phi(x) * (x + x^3/3 + x^5/(3*5) + ...).
    fn normal_distribution(x: f64) -> f64 {
        let (mut sum, mut term, mut divisor) = (0.0, x, 1.0);
        while term.abs() > 1e-18 * f64::abs(sum) {
            sum += term;
            divisor += 2.0;
            term *= x * x / divisor;
        }
        0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
    }

    fn grid() -> impl Iterator<Item = f32> {
        (-12_000..=12_000i16).map(|i| f32::from(i) * 1e-3)
    }

    #[test]
    fn the_tail_is_that_of_erf() {
        assert!((normal_distribution(1.0) - 0.841_344_746_068_542_9).abs() < 1e-15);
        for x in grid().filter(|x| *x >= 0.0) {
            let tail = 2.0 - 2.0 * normal_distribution(f64::from(x));
            let found = f64::from(two_sided_tail(x, f32::exp));
            assert!((found - tail).abs() <= GELU_ERROR, "{x}: {found} is not {tail}");
        }
    }

    #[test]
    fn functions_follow_their_formulas() {
        for x in grid() {
            let wide = f64::from(x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide.powi(3));
            let table = [
                (Activation::Silu, wide / (1.0 + (-wide).exp()), SIGMOID_ERROR),
                (Activation::Gelu, wide * normal_distribution(wide), GELU_ERROR),
                (Activation::GeluTanh, 0.5 * wide * (1.0 + inner.tanh()), SIGMOID_ERROR),
                (Activation::Relu, wide.max(0.0), 0.0),
                (Activation::ReluSquared, wide.max(0.0).powi(2), f64::from(f32::EPSILON)),
                (Activation::Sigmoid, 1.0 / (1.0 + (-wide).exp()), SIGMOID_ERROR),
            ];
            for (activation, expected, error) in table {
                let found = f64::from(activation.apply(x));
                let allowed = error * expected.abs().max(1.0);
                assert!((found - expected).abs() <= allowed, "{activation}({x}) is {found}, not {expected}");
            }
        }
    }

    /// A sigmoid, its complement and a factor of up to 16 roundings, and what the fit of the tail adds.
    const SLOPE_ERROR: f64 = 2e-6;

    #[test]
    fn slopes_follow_their_formulas() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        for x in grid() {
            let wide = f64::from(x);
            let density = (-wide * wide / 2.0).exp() / std::f64::consts::TAU.sqrt();
            let root = (2.0 / std::f64::consts::PI).sqrt();
            let inner = (root * (wide + 0.044715 * wide.powi(3))).tanh();
            let tanh =
                0.5 * (1.0 + inner) + 0.5 * wide * (1.0 - inner * inner) * root * (1.0 + 3.0 * 0.044715 * wide * wide);
            let table = [
                (Activation::Silu, sigmoid(wide) * (1.0 + wide * (1.0 - sigmoid(wide)))),
                (Activation::Gelu, normal_distribution(wide) + wide * density),
                (Activation::GeluTanh, tanh),
                (Activation::Relu, if wide > 0.0 { 1.0 } else { 0.0 }),
                (Activation::ReluSquared, 2.0 * wide.max(0.0)),
                (Activation::Sigmoid, sigmoid(wide) * (1.0 - sigmoid(wide))),
            ];
            for (activation, expected) in table {
                let found = f64::from(activation.slope(x));
                let right = (found - expected).abs() <= SLOPE_ERROR * expected.abs().max(1.0);
                assert!(right, "the slope of {activation} at {x} is {found}, not {expected}");
            }
        }
        for (activation, x) in Activation::ALL.into_iter().flat_map(|a| [(a, 1e4), (a, -1e4), (a, f32::MAX)]) {
            let right = match activation {
                Activation::ReluSquared => 2.0 * x.max(0.0),
                Activation::Sigmoid => 0.0,
                _ => f32::from(x > 0.0),
            };
            assert_eq!(activation.slope(x).max(1e-30), right.max(1e-30), "{activation}, {x}");
        }
    }

    #[test]
    fn large_inputs_saturate() {
        for activation in Activation::ALL {
            for x in [100.0, 1e4, 1e18] {
                let right = match activation {
                    Activation::ReluSquared => x * x,
                    Activation::Sigmoid => 1.0,
                    _ => x,
                };
                assert_eq!(activation.apply(x), right, "{activation}({x})");
                // x over the largest exponential formed, e^78.
                assert!(activation.apply(-x).abs() <= x * 1e-33, "{activation}(-{x})");
            }
            assert!(!activation.apply(f32::MAX).is_nan() && activation.apply(f32::MIN).is_finite());
        }
    }

    #[test]
    fn names_parse_back() {
        for activation in Activation::ALL {
            assert_eq!(activation.to_string().parse::<Activation>().unwrap(), activation);
        }
        let error = "quick_gelu".parse::<Activation>().unwrap_err().to_string();
        assert!(error.contains("quick_gelu") && error.contains("relu2"), "{error}");
    }
}
