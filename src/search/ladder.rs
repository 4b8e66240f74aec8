//! The schemes that a layer may get.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::scheme::{Bits, Scheme, Span, Zero};

/// The widths that a search may choose from, finest first; typed as `8,4,3,2,ternary`.
///
/// ```
/// use bitsmith::search::BitsLadder;
/// let ladder: BitsLadder = "ternary,8,4".parse()?;
/// assert_eq!(ladder.to_string(), "8,4,ternary");
/// assert!("8,5".parse::<BitsLadder>().is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BitsLadder(Vec<Bits>);

/// How three levels are typed.
const TERNARY: &str = "ternary";

impl BitsLadder {
    /// Of these widths, in any order.
    ///
    /// # Errors
    /// [`Error::Config`] if there is none.
    pub fn new(mut bits: Vec<Bits>) -> Result<Self> {
        if bits.is_empty() {
            return Err(Error::config("bits_ladder", "it has no rung; write for example 8,4,3,2"));
        }
        bits.sort_by(|a, b| b.cmp(a));
        bits.dedup();
        Ok(Self(bits))
    }

    /// Those of Bitween gradual: `8,4,2`.
    pub(super) fn source() -> Self {
        Self(Bits::ALL.into_iter().rev().filter(|bits| bits.get() != 3).collect())
    }

    /// The widths, finest first.
    pub fn bits(&self) -> &[Bits] {
        &self.0
    }
}

impl Default for BitsLadder {
    /// `8,4,3,2`.
    fn default() -> Self {
        Self(Bits::ALL.into_iter().rev().collect())
    }
}

impl FromStr for BitsLadder {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let rung = |rung: &str| match rung.trim() {
            TERNARY | "1.58" => Ok(Bits::TERNARY),
            number => number.parse().ok().and_then(|bits| Bits::new(bits).ok()).ok_or_else(|| {
                let why =
                    format!("`{text}`: `{number}` is no rung; write 8, 4, 3, 2 or {TERNARY}, with commas between them");
                Error::config("bits_ladder", why)
            }),
        };
        Self::new(text.split(',').map(rung).collect::<Result<_>>()?)
    }
}

impl fmt::Display for BitsLadder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, bits) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match bits.is_ternary() {
                true => write!(f, "{comma}{TERNARY}")?,
                false => write!(f, "{comma}{bits}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for BitsLadder {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<BitsLadder> for String {
    fn from(ladder: BitsLadder) -> Self {
        ladder.to_string()
    }
}

/// Every scheme of a search: each width with each group size, from the one with most bytes a weight to the one with fewest.
///
/// ```
/// use bitsmith::search::MixedPrecisionConfig;
/// let ladder = MixedPrecisionConfig::builder().bits_ladder("8,4").group_sizes(32, 128).build()?.ladder()?;
/// let names: Vec<_> = ladder.schemes().iter().map(ToString::to_string).collect();
/// assert_eq!(names, ["w8g32s", "w8g64s", "w8g128s", "w4g32s", "w4g64s", "w4g128s"]);
/// // Rows of 64 weights have no groups of 128.
/// assert_eq!(ladder.for_columns(64).last().unwrap().to_string(), "w4g64s");
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    schemes: Vec<Scheme>,
}

impl Ladder {
    /// Of these widths and group sizes.
    ///
    /// # Errors
    /// [`Error::Config`] for a group size outside [`Span::GROUP_SIZES`], or if there is no size.
    pub fn new(bits: &BitsLadder, sizes: &[usize], zero: Zero, scale_type: Dtype) -> Result<Self> {
        if sizes.is_empty() {
            return Err(Error::config("min_group_size", "there is no group size left"));
        }
        let mut schemes = Vec::new();
        for bits in bits.bits() {
            for size in sizes {
                schemes.push(Scheme::new(*bits, Span::group(*size)?, zero).with_scale_type(scale_type));
            }
        }
        // Bytes of rows that every group size divides, exactly; three levels after two bits, which take as many.
        let width = 1 << 20;
        schemes.sort_by_key(|scheme| std::cmp::Reverse((scheme.bytes(1, width), scheme.bits())));
        schemes.dedup();
        Ok(Self { schemes })
    }

    /// All schemes, most bytes first.
    pub fn schemes(&self) -> &[Scheme] {
        &self.schemes
    }

    /// The schemes that differ for rows of so many weights: of the group sizes that hold a whole row, the smallest stands for
    /// all.
    pub fn for_columns(&self, cols: usize) -> impl Iterator<Item = Scheme> {
        let size = move |scheme: &Scheme| match scheme.span() {
            Span::Group(size) => usize::from(size),
            Span::Channel | Span::Tensor => cols,
        };
        let whole = self.schemes.iter().map(size).filter(|size| *size >= cols).min();
        self.schemes.iter().copied().filter(move |scheme| size(scheme) < cols || Some(size(scheme)) == whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_typed_in_any_order() {
        let all: BitsLadder = "ternary,2,3, 4,8,4".parse().expect("five rungs");
        assert_eq!(all.to_string(), "8,4,3,2,ternary");
        assert_eq!(serde_json::to_string(&all).expect("text"), r#""8,4,3,2,ternary""#);
        assert_eq!("1.58".parse::<BitsLadder>().expect("three levels").bits(), [Bits::TERNARY]);
        assert_eq!(BitsLadder::default().to_string(), "8,4,3,2");
        for text in ["", "8,,4", "16", "8;4", "two"] {
            let error = text.parse::<BitsLadder>().expect_err(text).to_string();
            assert!(error.starts_with("bits_ladder") && error.contains("no rung"), "{error}");
        }
    }

    #[test]
    fn rungs_go_down_in_bytes() {
        for zero in [Zero::Symmetric, Zero::Stored] {
            let bits = "8,4,3,2,ternary".parse().expect("five rungs");
            let ladder = Ladder::new(&bits, &[16, 32, 64, 128], zero, Dtype::F16).expect("sizes");
            assert_eq!(ladder.schemes().len(), 20);
            let bytes: Vec<_> = ladder.schemes().iter().map(|scheme| scheme.bytes(8, 1 << 12)).collect();
            assert!(bytes.is_sorted_by(|a, b| a >= b), "{bytes:?}");
            assert!(ladder.for_columns(1 << 12).eq(ladder.schemes().iter().copied()));
            for (cols, count) in [(16, 5), (17, 10), (48, 15), (128, 20)] {
                assert_eq!(ladder.for_columns(cols).count(), count, "{cols}");
            }
        }
        assert!(Ladder::new(&BitsLadder::default(), &[8], Zero::Symmetric, Dtype::F16).is_err());
        assert!(Ladder::new(&BitsLadder::default(), &[], Zero::Symmetric, Dtype::F16).is_err());
    }
}
