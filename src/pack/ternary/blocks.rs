//! The ternary blocks of GGUF files.

use super::{check, digit, trit, wrong};
use crate::dtype::Dtype;
use crate::error::Result;

/// A block of 256 trits that share a scale, as llama.cpp has them. The scale `d` is an f16 at the end.
///
/// ```text
/// Tq1, 54 bytes     |  qs: 48                         | qh: 4       | d: 2 |
///                   |  trits 0..160   | trits 160..240| 240..256    |
///   byte m of 0..32     digits m, m+32, .. m+128       the first counts 81, the fifth 1
///   byte 32+m of 16     digits 160+m, .. in steps of 16    likewise
///   byte m of qh        digits 240+m, .. in steps of 4     81, 27, 9, 3
///   a number v below 243 is stored as ceil(v * 256 / 243): a digit is then found by a product and a shift
///
/// Tq2, 66 bytes     |  qs: 64                         | d: 2 |
///   byte 32h+m, h of 0..2, m of 0..32:
///        bit  7..6       5..4      3..2      1..0
///             128h+m+96  +64       +32       128h+m
/// ```
///
/// A digit is `t + 1`.
///
/// ```
/// use bitsmith::pack::TernaryBlock;
/// let trits: Vec<i8> = (0..512).map(|i| (i % 3) as i8 - 1).collect();
/// let bytes = TernaryBlock::Tq1.pack(&trits, &[0.5, 2.0])?;
/// assert_eq!(bytes.len(), 2 * TernaryBlock::Tq1.bytes());
/// assert_eq!(TernaryBlock::Tq1.unpack(&bytes)?, (trits, vec![0.5, 2.0]));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TernaryBlock {
    /// `TQ1_0`: base 3, 1.6875 bits a weight.
    Tq1,
    /// `TQ2_0`: two bits, 2.0625 bits a weight.
    Tq2,
}

/// Bytes that hold trits from one on, in steps: the first trit, the step, and the number of bytes.
type Run = (usize, usize, usize);

/// The runs of a block of base 3, and how many trits a byte of each has.
const TQ1: [(Run, usize); 3] = [((0, 32, 32), 5), ((160, 16, 16), 5), ((240, 4, 4), 4)];
/// The runs of a block of two bits; a byte has four.
const TQ2: [(Run, usize); 2] = [((0, 32, 32), 4), ((128, 32, 32), 4)];

impl TernaryBlock {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tq1, Self::Tq2];

    /// Trits of a block.
    pub const TRITS: usize = 256;

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Tq1 => 54,
            Self::Tq2 => 66,
        }
    }

    const fn runs(self) -> &'static [(Run, usize)] {
        match self {
            Self::Tq1 => &TQ1,
            Self::Tq2 => &TQ2,
        }
    }

    /// Packs whole blocks, each with its scale, which is rounded to f16.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for other than 256 trits a scale, or a number that is no trit.
    pub fn pack(self, trits: &[i8], scales: &[f32]) -> Result<Vec<u8>> {
        check(trits)?;
        if trits.len() != scales.len() * Self::TRITS {
            return Err(wrong(
                format!("{} trits for {} scales", scales.len() * Self::TRITS, scales.len()),
                trits.len(),
            ));
        }
        let mut bytes = Vec::with_capacity(scales.len() * self.bytes());
        for (trits, scale) in trits.chunks_exact(Self::TRITS).zip(scales) {
            for ((first, step, count), digits) in self.runs() {
                bytes.extend((0..*count).map(|m| {
                    let digits = (0..*digits).map(|k| digit(trits[first + m + k * step]));
                    match self {
                        Self::Tq1 => fraction(digits),
                        Self::Tq2 => digits.rev().fold(0, |byte, digit| byte << 2 | digit),
                    }
                }));
            }
            bytes.extend(Dtype::F16.encode(&[*scale]));
        }
        Ok(bytes)
    }

    /// The trits and scales of whole blocks.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for bytes that are no whole blocks, or a code that is no trit.
    pub fn unpack(self, bytes: &[u8]) -> Result<(Vec<i8>, Vec<f32>)> {
        let size = self.bytes();
        if !bytes.len().is_multiple_of(size) {
            return Err(wrong(format!("blocks of {size} bytes"), bytes.len()));
        }
        let mut trits = vec![0; bytes.len() / size * Self::TRITS];
        let mut scales = Vec::with_capacity(bytes.len() / size);
        for (block, trits) in bytes.chunks_exact(size).zip(trits.chunks_exact_mut(Self::TRITS)) {
            let (codes, scale) = block.split_at(size - 2);
            let mut codes = codes.iter();
            for ((first, step, count), digits) in self.runs() {
                for (m, code) in codes.by_ref().take(*count).enumerate() {
                    for k in 0..*digits {
                        let digit = match self {
                            Self::Tq1 => digit_of(*code, k),
                            Self::Tq2 => code >> (2 * k) & 3,
                        };
                        if digit == 3 {
                            return Err(wrong("codes of trits".into(), format!("byte {code:#x}")));
                        }
                        trits[first + m + k * step] = trit(digit);
                    }
                }
            }
            scales.extend(Dtype::F16.decode(scale));
        }
        Ok((trits, scales))
    }
}

/// Up to five digits, the first counting 81, as a fraction of 256.
fn fraction(digits: impl Iterator<Item = u8>) -> u8 {
    let number = [81, 27, 9, 3, 1].iter().zip(digits).fold(0, |sum, (weight, digit)| sum + weight * u16::from(digit));
    (number * 256).div_ceil(243).to_le_bytes()[0]
}

/// Digit `k` of a fraction.
fn digit_of(fraction: u8, k: usize) -> u8 {
    let place = [1u8, 3, 9, 27, 81][k];
    (u16::from(fraction.wrapping_mul(place)) * 3).to_be_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes that the gguf package makes of `0.5 * (((7 i + i / 5) mod 3) - 1)`.
    const TQ1_BYTES: &str = "465dd11874465dd11874465dd11874465dd11874465dd11874465dd11874465d3192b622663192b622663192b622\
                             6631235fcb430038";
    const TQ2_BYTES: &str = "588116600558811660055881166005588116600558811660055881166005588160055881166005588116600558\
                             811660055881166005588116600558811660050038";

    #[test]
    fn blocks_are_those_of_gguf() {
        let trits: Vec<i8> = (0..256u32).map(|i| trit(((7 * i + i / 5) % 3).to_le_bytes()[0])).collect();
        for (block, expected) in [(TernaryBlock::Tq1, TQ1_BYTES), (TernaryBlock::Tq2, TQ2_BYTES)] {
            let bytes = block.pack(&trits, &[0.5]).expect("one block");
            assert_eq!((hex(&bytes).as_str(), bytes.len()), (expected, block.bytes()));
            assert_eq!(block.unpack(&bytes).expect("one block"), (trits.clone(), vec![0.5]));
        }
    }

    #[test]
    fn every_fraction_gives_its_digits_back() {
        for number in 0..243u8 {
            let digits = [81, 27, 9, 3, 1].map(|place| number / place % 3);
            let byte = fraction(digits.into_iter());
            assert_eq!(std::array::from_fn(|k| digit_of(byte, k)), digits);
        }
    }
}
