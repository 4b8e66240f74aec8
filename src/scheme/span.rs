//! Which weights share a scale, and the arithmetic of groups and their tails.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Which weights of a `[out_features, in_features]` matrix share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Span {
    /// The whole tensor.
    Tensor,
    /// One output channel, that is one row.
    Channel,
    /// This many neighbouring input features of one row; the last group of a row may be shorter.
    Group(u16),
}

impl Span {
    /// Smallest and largest group size.
    pub const GROUP_SIZES: std::ops::RangeInclusive<u16> = 16..=1024;

    /// A group size in [`Self::GROUP_SIZES`].
    pub fn group(size: usize) -> Result<Self> {
        u16::try_from(size)
            .ok()
            .filter(|s| Self::GROUP_SIZES.contains(s))
            .map(Self::Group)
            .ok_or_else(|| Error::config("group_size", format!("{size} is not between 16 and 1024")))
    }

    /// How a tensor of this shape falls into groups.
    pub fn groups(self, rows: usize, cols: usize) -> Groups {
        let (size, per_row) = match self {
            Self::Tensor => (cols, 0),
            Self::Channel => (cols, 1),
            Self::Group(size) => (size as usize, cols.div_ceil(size as usize)),
        };
        Groups { rows, size, per_row }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor => f.write_str("t"),
            Self::Channel => f.write_str("c"),
            Self::Group(size) => write!(f, "g{size}"),
        }
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "t" => Ok(Self::Tensor),
            "c" => Ok(Self::Channel),
            _ => {
                text.strip_prefix('g').and_then(|size| size.parse().ok()).map(Self::group).unwrap_or_else(|| {
                    Err(Error::config("span", format!("`{text}` is not t, c or g and a group size")))
                })
            }
        }
    }
}

/// The groups of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    rows: usize,
    size: usize,
    per_row: usize,
}

impl Groups {
    /// Columns of a full group.
    pub const fn size(self) -> usize {
        self.size
    }

    /// Groups of a row; 0 when the whole tensor is one group, so that
    /// `row * per_row + col / size` is the index of a group in every case.
    pub const fn per_row(self) -> usize {
        self.per_row
    }

    /// Number of scales of the tensor.
    pub const fn count(self) -> usize {
        if self.per_row == 0 { 1 } else { self.rows * self.per_row }
    }

    /// Index of the group that holds an element.
    #[inline]
    pub const fn index(self, row: usize, col: usize) -> usize {
        row * self.per_row + col / self.size
    }
}
