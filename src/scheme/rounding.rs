//! How a quotient that lies between two codes is settled.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Rounding of `weight / scale` to an integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// To nearest; exact halves to the even code.
    #[default]
    HalfEven,
    /// To nearest; exact halves away from zero.
    HalfAway,
    /// Up with a probability equal to the fraction, so that the mean error is zero.
    Stochastic,
}

impl Rounding {
    /// All roundings.
    pub const ALL: [Self; 3] = [Self::HalfEven, Self::HalfAway, Self::Stochastic];

    /// Name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HalfEven => "half-even",
            Self::HalfAway => "half-away",
            Self::Stochastic => "stochastic",
        }
    }

    /// The number a shader knows the rounding by.
    pub const fn tag(self) -> u32 {
        self as u32
    }

    /// The rounding of a tag.
    pub fn from_tag(tag: u32) -> Self {
        Self::ALL[tag as usize]
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rounding {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|r| r.name() == text).ok_or_else(|| {
            Error::config("rounding", format!("`{text}` is not one of half-even, half-away, stochastic"))
        })
    }
}

/// A number in (0, 1) drawn from a seed and a position: the same on every device, whatever the order of
/// work. A 32-bit mix of shifts and odd multipliers; 23 bits of it become the number.
#[inline]
pub fn uniform(seed: u32, position: u32) -> f32 {
    let mut h = position.wrapping_mul(0x9E37_79B1) ^ seed.wrapping_mul(0x85EB_CA77) ^ 0x27D4_EB2F;
    for shift in [15, 13] {
        h = (h ^ (h >> shift)).wrapping_mul(0x2C1B_3C6D);
    }
    h ^= h >> 16;
    ((h >> 9) as f32 + 0.5) * (1.0 / 8_388_608.0)
}
