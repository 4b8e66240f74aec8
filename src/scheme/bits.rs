//! The width of a code.

use std::fmt;

use crate::error::{Error, Result};

/// Bits of a code: 2, 3, 4 or 8; or three levels ([`Self::TERNARY`]), which are kept in 2.
///
/// ```
/// use bitsmith::Bits;
/// assert_eq!((Bits::new(4)?.get(), Bits::new(4)?.to_string()), (4, "4".to_owned()));
/// assert_eq!((Bits::TERNARY.get(), Bits::TERNARY.to_string()), (2, "1.58".to_owned()));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bits(u8);

impl Bits {
    /// Every width there is.
    pub const ALL: [Self; 4] = [Self(2), Self(3), Self(4), Self(8)];

    /// The weights -1, 0 and 1 times a scale: symmetric codes of 2 bits of which the lowest, that of -2, is unused.
    /// Kernels compute with them as with any 2 bits.
    pub const TERNARY: Self = Self(1);

    /// A width, if it is one of 2, 3, 4 and 8.
    pub fn new(bits: u8) -> Result<Self> {
        match bits {
            2 | 3 | 4 | 8 => Ok(Self(bits)),
            _ => Err(Error::config("bits", format!("{bits} is not one of 2, 3, 4, 8"))),
        }
    }

    /// The bits that a packed code takes.
    pub const fn get(self) -> u8 {
        if self.is_ternary() { 2 } else { self.0 }
    }

    /// Whether there are three levels only.
    pub const fn is_ternary(self) -> bool {
        self.0 == Self::TERNARY.0
    }

    /// The width that holds the codes: for three levels 2 bits.
    pub(super) const fn carrier(self) -> Self {
        Self(self.get())
    }

    /// The smallest code: 0, but for three levels 1.
    pub const fn min_code(self) -> u8 {
        self.is_ternary() as u8
    }

    /// The largest code, `2^bits - 1`.
    pub const fn max_code(self) -> u8 {
        u8::MAX >> (8 - self.get())
    }

    /// The middle code, `2^(bits-1)`, which stands for 0 in symmetric schemes.
    pub const fn middle(self) -> u8 {
        1 << (self.get() - 1)
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ternary() { f.write_str("1.58") } else { self.0.fmt(f) }
    }
}
