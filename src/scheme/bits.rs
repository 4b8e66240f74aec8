//! The width of a code.

use std::fmt;

use crate::error::{Error, Result};

/// Bits of a code: 2, 3, 4 or 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bits(u8);

impl Bits {
    /// Every width there is.
    pub const ALL: [Self; 4] = [Self(2), Self(3), Self(4), Self(8)];

    /// A width, if it is one of 2, 3, 4 and 8.
    pub fn new(bits: u8) -> Result<Self> {
        match bits {
            2 | 3 | 4 | 8 => Ok(Self(bits)),
            _ => Err(Error::config("bits", format!("{bits} is not one of 2, 3, 4, 8"))),
        }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The largest code, `2^bits - 1`.
    pub const fn max_code(self) -> u8 {
        u8::MAX >> (8 - self.0)
    }

    /// The middle code, `2^(bits-1)`, which stands for 0 in symmetric schemes.
    pub const fn middle(self) -> u8 {
        1 << (self.0 - 1)
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
