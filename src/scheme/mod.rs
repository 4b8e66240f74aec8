//! What the integers of a quantized weight mean. Where their bits lie is [`crate::pack`]; how the
//! range and the rounding were found ([`RangeRule`], [`Rounding`]) belongs to the method; which layer gets which
//! scheme is a [`Plan`].

mod bits;
mod exact;
mod pattern;
mod plan;
mod range;
mod rounding;
mod span;
mod ternary;

use std::fmt;
use std::str::FromStr;

pub use bits::Bits;
pub use exact::{divide_exact, nearest_integer, nearest_shifted};
pub use pattern::{Pattern, SkipList};
pub use plan::Plan;
pub use range::RangeRule;
pub use rounding::{Rounding, uniform};
pub use span::{Groups, Span};
pub use ternary::{TernaryLevels, TernaryRule};

use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// Whether a group stores a zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Zero {
    /// The middle code `2^(bits-1)` stands for 0; nothing is stored.
    Symmetric,
    /// Each group stores the code that stands for 0.
    Stored,
}

/// The meaning of a weight's codes: `weight = (code - zero_point) * scale`, with one scale (and
/// zero point) for each group that [`Span`] describes.
///
/// Prints and parses as `w4g128s` (4 bits, groups of 128 input features, symmetric) or `w2g32a`
/// (asymmetric); `c` in place of `g128` is one group per output channel, `t` one for the tensor; `1.58` bits are ternary
/// weights. A scale type other than f16 follows: `w4g128s-f32`.
///
/// ```
/// use bitsmith::{Dtype, Scheme};
/// let scheme: Scheme = "w4g128s".parse()?;
/// assert_eq!((scheme.bits().get(), scheme.scale_type()), (4, Dtype::F16));
/// assert_eq!(scheme.with_scale_type(Dtype::Bf16).to_string(), "w4g128s-bf16");
/// assert!("w5g128s".parse::<Scheme>().is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scheme {
    bits: Bits,
    span: Span,
    zero: Zero,
    scale_type: Dtype,
}

impl Scheme {
    /// A scheme with f16 scales. Three levels are symmetric, whatever `zero` says.
    pub const fn new(bits: Bits, span: Span, zero: Zero) -> Self {
        let zero = if bits.is_ternary() { Zero::Symmetric } else { zero };
        Self { bits, span, zero, scale_type: Dtype::F16 }
    }

    /// The same scheme with another scale type.
    #[must_use]
    pub const fn with_scale_type(self, scale_type: Dtype) -> Self {
        Self { scale_type, ..self }
    }

    /// The scheme that holds the same codes and knows no three levels: `w2g32s` for `w1.58g32s`; any other is its own. Formats
    /// without a word for three levels are read back as this.
    ///
    /// ```
    /// let scheme: bitsmith::Scheme = "w1.58cs".parse()?;
    /// assert_eq!(scheme.carrier().to_string(), "w2cs");
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    #[must_use]
    pub const fn carrier(self) -> Self {
        Self { bits: self.bits.carrier(), ..self }
    }

    /// Bits of a code.
    pub const fn bits(self) -> Bits {
        self.bits
    }

    /// Which weights share a scale.
    pub const fn span(self) -> Span {
        self.span
    }

    /// Whether zero points are stored.
    pub const fn zero(self) -> Zero {
        self.zero
    }

    /// Storage type of the scales; scales are rounded to it before codes are chosen.
    pub const fn scale_type(self) -> Dtype {
        self.scale_type
    }

    /// Whether the middle code stands for zero and no zero points are stored.
    pub const fn is_symmetric(self) -> bool {
        matches!(self.zero, Zero::Symmetric)
    }

    /// How a tensor of this shape falls into groups.
    pub fn groups(self, rows: usize, cols: usize) -> Groups {
        self.span.groups(rows, cols)
    }

    /// Bytes a weight of this shape takes: packed codes, scales and zero points
    /// (the latter at the width of a code).
    pub fn bytes(self, rows: usize, cols: usize) -> u64 {
        let bits = self.bits.get() as u64;
        let codes = rows as u64 * (cols as u64 * bits).div_ceil(32) * 4;
        let groups = self.groups(rows, cols).count() as u64;
        let zeros = if self.is_symmetric() { 0 } else { (groups * bits).div_ceil(8) };
        codes + groups * self.scale_type.bytes() as u64 + zeros
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zero = if self.is_symmetric() { 's' } else { 'a' };
        write!(f, "w{}{}{zero}", self.bits, self.span)?;
        match self.scale_type {
            Dtype::F16 => Ok(()),
            other => write!(f, "-{other}"),
        }
    }
}

impl FromStr for Scheme {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad =
            |why: &str| Error::config("scheme", format!("`{text}`: {why}; write for example w4g128s or w2g32a-f32"));
        let (body, scale_type) = match text.split_once('-') {
            Some((body, dtype)) => (body, dtype.parse()?),
            None => (text, Dtype::F16),
        };
        let body = body.strip_prefix('w').ok_or_else(|| bad("must start with w"))?;
        let (body, zero) = match (body.strip_suffix('s'), body.strip_suffix('a')) {
            (Some(rest), _) => (rest, Zero::Symmetric),
            (_, Some(rest)) => (rest, Zero::Stored),
            _ => return Err(bad("must end with s (symmetric) or a (asymmetric)")),
        };
        let digits = body.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (bits, span) = body.split_at(digits);
        let bits = match bits {
            "1.58" if zero == Zero::Stored => return Err(bad("three levels are symmetric")),
            "1.58" => Bits::TERNARY,
            bits => Bits::new(bits.parse().map_err(|_| bad("no number of bits"))?)?,
        };
        Ok(Self::new(bits, span.parse()?, zero).with_scale_type(scale_type))
    }
}

impl serde::Serialize for Scheme {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Scheme {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
