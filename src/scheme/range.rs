//! From the smallest and largest value of a group to its scale and zero point, by named rule.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::exact::{divide_exact, nearest_integer};
use super::{Rounding, Scheme};
use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// How the range of a group becomes its scale. With `b` bits:
///
/// | rule | symmetric scale | asymmetric scale |
/// | --- | --- | --- |
/// | `full-range` | signed extreme / -2^(b-1); may be negative | (max - min) / (2^b - 1), range includes 0 |
/// | `2n-1` | 2 max abs / (2^b - 1) | the same as above |
/// | `restricted` | max abs / (2^(b-1) - 1), the lowest code unused | refused |
/// | `raw` | refused | as above, but the range need not include 0 |
///
/// `full-range` is what AutoRound and llama.cpp's Q4_0 do, `2n-1` GPTQ and compressed-tensors,
/// `restricted` llama.cpp's Q8_0, `raw` Bitween and AWQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RangeRule {
    /// The value of larger magnitude takes the code `-2^(b-1)`.
    #[default]
    #[serde(rename = "full-range")]
    FullRange,
    /// `2^b - 1` steps over twice the largest magnitude; the top code clips by half a step.
    #[serde(rename = "2n-1")]
    TwoNMinusOne,
    /// The same number of codes on both sides of zero.
    #[serde(rename = "restricted")]
    Restricted,
    /// The bare minimum and maximum; groups far from zero saturate.
    #[serde(rename = "raw")]
    Raw,
}

/// Scales are kept at or above this: 2^-100 is far above the subnormals that GPUs may flush and far below any
/// weight that matters. f16 scales have their own floor, the smallest f16.
const SMALLEST_SCALE: f32 = f32::from_bits((127 - 100) << 23);
const SMALLEST_F16_SCALE: f32 = f32::from_bits((127 - 24) << 23);

impl RangeRule {
    /// All rules.
    pub const ALL: [Self; 4] = [Self::FullRange, Self::TwoNMinusOne, Self::Restricted, Self::Raw];

    /// Name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FullRange => "full-range",
            Self::TwoNMinusOne => "2n-1",
            Self::Restricted => "restricted",
            Self::Raw => "raw",
        }
    }

    /// The number a shader knows the rule by.
    pub const fn tag(self) -> u32 {
        self as u32
    }

    /// The rule of a tag.
    pub fn from_tag(tag: u32) -> Self {
        Self::ALL[tag as usize]
    }

    /// Refuses a rule that has no meaning for the scheme.
    pub fn check(self, scheme: Scheme) -> Result<()> {
        match (self, scheme.is_symmetric()) {
            (Self::FullRange | Self::TwoNMinusOne | Self::Raw, true) if scheme.bits().is_ternary() => {
                let detail = format!("`{self}` has no meaning for three levels; use the method ternary, or restricted");
                Err(Error::config("range", detail))
            }
            (Self::Restricted, false) => {
                Err(Error::config("range", "`restricted` is a symmetric rule; use full-range or raw"))
            }
            (Self::Raw, true) => {
                Err(Error::config("range", "`raw` is an asymmetric rule; use full-range, 2n-1 or restricted"))
            }
            _ => Ok(()),
        }
    }

    /// The smallest code the rule uses.
    pub const fn min_code(self) -> u8 {
        matches!(self, Self::Restricted) as u8
    }

    /// Smallest magnitude of a scale of this type.
    pub const fn smallest_scale(scale_type: Dtype) -> f32 {
        match scale_type {
            Dtype::F16 => SMALLEST_F16_SCALE,
            Dtype::F32 | Dtype::Bf16 => SMALLEST_SCALE,
        }
    }

    /// A scale as its type holds it, kept at or above the smallest magnitude. A zero becomes a positive scale: devices
    /// disagree on the sign of a computed zero.
    #[inline(always)]
    pub fn stored(scale: f32, scale_type: Dtype) -> f32 {
        let (rounded, floor) = (scale_type.round(scale), Self::smallest_scale(scale_type));
        match rounded {
            small if small.abs() < floor => {
                if small < 0.0 {
                    -floor
                } else {
                    floor
                }
            }
            other => other,
        }
    }

    /// Scale, already rounded to its storage type, and zero point of a group whose values lie in
    /// `min..=max`. The scale is infinite when it does not fit its type, NaN when an end is not finite. Groups
    /// that reach beyond half the largest f32 may decode to an infinity.
    ///
    /// ```
    /// use bitsmith::{RangeRule, Scheme};
    /// let scheme: Scheme = "w4g32s-f32".parse()?;
    /// assert_eq!(RangeRule::FullRange.scale_and_zero(-2.0, 1.9, scheme), (0.25, 8));
    /// assert_eq!(RangeRule::FullRange.scale_and_zero(-1.9, 2.0, scheme), (-0.25, 8));
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    #[inline(always)]
    pub fn scale_and_zero(self, min: f32, max: f32, scheme: Scheme) -> (f32, u8) {
        let bits = scheme.bits();
        if !min.is_finite() || !max.is_finite() {
            return (f32::NAN, bits.middle());
        }
        let steps = u32::from(bits.max_code());
        let stored = |scale: f32| Self::stored(scale, scheme.scale_type());
        if scheme.is_symmetric() {
            let extreme = if -min > max { min } else { max };
            let scale = match self {
                // Halved first: twice the largest f32 is no f32.
                Self::TwoNMinusOne => 4.0 * divide_exact(extreme.abs() * 0.5, steps),
                Self::Restricted => divide_exact(extreme.abs(), steps / 2),
                Self::FullRange | Self::Raw => -extreme / f32::from(bits.middle()),
            };
            return (stored(scale), bits.middle());
        }
        let (min, max) = if matches!(self, Self::Raw) { (min, max) } else { (min.min(0.0), max.max(0.0)) };
        let scale = stored(2.0 * divide_exact(max * 0.5 - min * 0.5, steps));
        let zero = nearest_integer(-min, scale, Rounding::HalfEven, 0.0).clamp(0, i32::from(bits.max_code()));
        (scale, u8::try_from(zero).unwrap_or(bits.max_code()))
    }
}

impl fmt::Display for RangeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RangeRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|rule| rule.name() == text)
            .ok_or_else(|| Error::config("range", format!("`{text}` is not one of full-range, 2n-1, restricted, raw")))
    }
}
