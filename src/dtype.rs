//! The floating-point types that tensors are stored in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Storage type of a floating-point tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl Dtype {
    /// All storage types.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Lower-case name: `f32`, `f16`, `bf16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// `value` rounded to this type (half to even) and back.
    ///
    /// ```
    /// use bitsmith::Dtype;
    /// assert_eq!(Dtype::Bf16.round(1.001), 1.0);
    /// assert_eq!(Dtype::F16.round(1e6), f32::INFINITY);
    /// ```
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::F16 => half::f16::from_f32(value).to_f32(),
            Self::Bf16 => half::bf16::from_f32(value).to_f32(),
        }
    }

    /// The value of element `index` of a word array that holds elements of this type
    /// (two to a word, low half first, for the 16-bit types).
    #[inline]
    pub fn value(self, words: &[u32], index: usize) -> f32 {
        match self {
            Self::F32 => f32::from_bits(words[index]),
            Self::F16 => half::f16::from_bits(half_of(words, index)).to_f32(),
            Self::Bf16 => half::bf16::from_bits(half_of(words, index)).to_f32(),
        }
    }

    /// `values` rounded to this type and laid out as little-endian bytes.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => bytemuck::cast_slice(values).to_vec(),
            Self::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        }
    }

    /// The f32 values of little-endian `bytes`; a trailing partial element is ignored.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Self::F16 => bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
            Self::Bf16 => bytes.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the shift leaves 16 bits")]
fn half_of(words: &[u32], index: usize) -> u16 {
    (words[index / 2] >> (16 * (index % 2))) as u16
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dtype {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|d| d.name() == text)
            .ok_or_else(|| Error::config("dtype", format!("`{text}` is not one of f32, f16, bf16")))
    }
}
