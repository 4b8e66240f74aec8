//! Trits, the weights -1, 0 and 1, in bytes.

mod blocks;

pub use blocks::TernaryBlock;

use crate::error::{Error, Result};

/// A stream of trits without scales. Trits `t0 t1 ...` of a byte:
///
/// ```text
/// TwoBit   bit   7..6  5..4  3..2  1..0      a code is t + 1
///                t3    t2    t1    t0
///
/// BitLab   the same places                   a code is 0 for 0, 1 for +1, 2 for -1
///
/// Base3    byte = d0 + 3 d1 + 9 d2 + 27 d3 + 81 d4    a digit is t + 1; 0..=242, 1.6 bits a trit
/// ```
///
/// What is left of the last byte is 0. Where bits lie in Hugging Face's `bitnet` files and in those of llama.cpp is another
/// matter: see [`TernaryBlock`] for the latter.
///
/// ```
/// use bitsmith::pack::TernaryPacking;
/// let trits = [1, 0, -1, 1, 1, -1];
/// assert_eq!(TernaryPacking::TwoBit.pack(&trits)?, [0b10_00_01_10, 0b00_10]);
/// assert_eq!(TernaryPacking::BitLab.pack(&trits)?, [0b01_10_00_01, 0b10_01]);
/// assert_eq!(TernaryPacking::Base3.pack(&trits)?, [2 + 3 + 2 * 27 + 2 * 81, 0]);
/// let bytes = TernaryPacking::Base3.pack(&trits)?;
/// assert_eq!(TernaryPacking::Base3.unpack(&bytes, 6)?, trits);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TernaryPacking {
    /// Four to a byte, `t + 1`, from the lowest bits up.
    TwoBit,
    /// Five to a byte, the digits of a number to the base 3, the first the least.
    Base3,
    /// Four to a byte, from the lowest bits up, in BitLab's code.
    BitLab,
}

impl TernaryPacking {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TwoBit, Self::Base3, Self::BitLab];

    /// Trits of a byte.
    const fn per_byte(self) -> usize {
        match self {
            Self::TwoBit | Self::BitLab => 4,
            Self::Base3 => 5,
        }
    }

    /// Bytes of so many trits.
    pub const fn bytes(self, trits: usize) -> usize {
        trits.div_ceil(self.per_byte())
    }

    /// Packs trits.
    ///
    /// # Errors
    /// [`Error::Shape`] for a number that is none of -1, 0 and 1.
    pub fn pack(self, trits: &[i8]) -> Result<Vec<u8>> {
        check(trits)?;
        let code = |trit: i8| match self {
            Self::BitLab => trit.rem_euclid(3).to_le_bytes()[0],
            Self::TwoBit | Self::Base3 => digit(trit),
        };
        let base = if self == Self::Base3 { 3 } else { 4 };
        let byte = |trits: &[i8]| trits.iter().rev().fold(0, |byte, trit| byte * base + code(*trit));
        Ok(trits.chunks(self.per_byte()).map(byte).collect())
    }

    /// The trits of packed bytes.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of bytes than so many trits take, and for a byte that packing cannot make.
    pub fn unpack(self, bytes: &[u8], trits: usize) -> Result<Vec<i8>> {
        if bytes.len() != self.bytes(trits) {
            return Err(wrong(format!("{} bytes for {trits} trits", self.bytes(trits)), bytes.len()));
        }
        let base = if self == Self::Base3 { 3 } else { 4 };
        let mut all = Vec::with_capacity(bytes.len() * self.per_byte());
        for (at, byte) in bytes.iter().enumerate() {
            let no_code = || wrong(format!("codes of trits at byte {at}"), byte);
            let mut rest = *byte;
            for _ in 0..self.per_byte() {
                all.push(match (self, rest % base) {
                    (_, 3) => return Err(no_code()),
                    (Self::BitLab, 2) => -1,
                    (Self::BitLab, code) => code.cast_signed(),
                    (Self::TwoBit | Self::Base3, digit) => trit(digit),
                });
                rest /= base;
            }
            if rest != 0 {
                return Err(no_code());
            }
        }
        all.truncate(trits);
        Ok(all)
    }
}

/// `t + 1` of a trit that was checked.
const fn digit(trit: i8) -> u8 {
    (trit + 1).cast_unsigned()
}

/// The trit of a digit 0, 1 or 2.
const fn trit(digit: u8) -> i8 {
    digit.cast_signed() - 1
}

fn check(trits: &[i8]) -> Result<()> {
    match trits.iter().position(|trit| !(-1..=1).contains(trit)) {
        Some(at) => Err(wrong(format!("-1, 0 or 1 at place {at}"), trits[at])),
        None => Ok(()),
    }
}

fn wrong(expected: String, found: impl ToString) -> Error {
    Error::Shape { op: "ternary packing", expected, found: found.to_string() }
}
