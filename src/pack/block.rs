//! The blocks of GGUF files: some neighbouring weights of a row with their scales.

use super::super_block::SuperBlock;
use super::ternary::TernaryBlock;
use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// A layout of the weights of a block. Codes `q` are unsigned here; `d`, `m` are f16.
///
/// ```text
/// Q4_0, 18 bytes   | d: 2 | qs: 16 |          d * (q - 8)       byte j of qs: code j low, code j + 16 high
/// Q4_1, 20 bytes   | d: 2 | m: 2 | qs: 16 |   d * q + m         likewise
/// Q8_0, 34 bytes   | d: 2 | qs: 32 |          d * (q - 128)     a byte is q - 128
/// Q2_K, 84 bytes   see SuperBlock              256 weights
/// TQ1_0, TQ2_0     see TernaryBlock            256 weights
/// ```
///
/// ```
/// use bitsmith::pack::{BlockType, BlockWeights};
/// let weights = BlockWeights { codes: (0..32).map(|i| i / 2).collect(), scales: vec![0.5], minima: vec![] };
/// let bytes = BlockType::Q4_0.pack(&weights)?;
/// assert_eq!(bytes.len(), BlockType::Q4_0.bytes());
/// assert_eq!(BlockType::Q4_0.unpack(&bytes)?, weights);
/// assert_eq!(BlockType::Q4_0.values(&bytes)?[..3], [-4.0, -4.0, -3.5]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "the names of the format")]
pub enum BlockType {
    /// 4 bits, symmetric.
    Q4_0,
    /// 4 bits with a minimum.
    Q4_1,
    /// 8 bits, symmetric.
    Q8_0,
    /// 2 bits with scales and minima of 4 bits.
    Q2_K,
    /// Ternary, base 3.
    TQ1_0,
    /// Ternary, two bits.
    TQ2_0,
}

/// Codes and scales of whole blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockWeights {
    /// One a weight; of ternary types `t + 2`.
    pub codes: Vec<u8>,
    /// One a block.
    pub scales: Vec<f32>,
    /// One a block of `Q4_1`; none of the others.
    pub minima: Vec<f32>,
}

/// Bytes of a pair of nibbles' block without its scales.
const NIBBLES: usize = 16;

impl BlockType {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Q4_0, Self::Q4_1, Self::Q8_0, Self::Q2_K, Self::TQ1_0, Self::TQ2_0];

    /// Weights of a block.
    pub const fn weights(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 => 32,
            Self::Q2_K => SuperBlock::WEIGHTS,
            Self::TQ1_0 | Self::TQ2_0 => TernaryBlock::TRITS,
        }
    }

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 2 + NIBBLES,
            Self::Q4_1 => 4 + NIBBLES,
            Self::Q8_0 => 34,
            Self::Q2_K => SuperBlock::BYTES,
            Self::TQ1_0 => TernaryBlock::Tq1.bytes(),
            Self::TQ2_0 => TernaryBlock::Tq2.bytes(),
        }
    }

    /// The ternary layout that it is, if it is one.
    const fn ternary(self) -> Option<TernaryBlock> {
        match self {
            Self::TQ1_0 => Some(TernaryBlock::Tq1),
            Self::TQ2_0 => Some(TernaryBlock::Tq2),
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 | Self::Q2_K => None,
        }
    }

    /// The blocks of these weights; scales and minima are rounded to f16.
    ///
    /// # Errors
    /// [`Error::Shape`] for parts that do not fit together, a code that is out of range, or [`Self::Q2_K`], whose scales are
    /// not those of this type.
    pub fn pack(self, weights: &BlockWeights) -> Result<Vec<u8>> {
        let BlockWeights { codes, scales, minima } = weights;
        let wrong = |expected: String, found: String| Err(Error::Shape { op: "blocks", expected, found });
        let wanted_minima = if self == Self::Q4_1 { scales.len() } else { 0 };
        if self == Self::Q2_K || codes.len() != scales.len() * self.weights() || minima.len() != wanted_minima {
            let found = format!("{} codes, {} scales, {} minima", codes.len(), scales.len(), minima.len());
            return wrong(format!("whole blocks of {self:?}"), found);
        }
        if let Some(block) = self.ternary() {
            let trits: Vec<i8> = codes.iter().map(|code| code.wrapping_sub(2).cast_signed()).collect();
            return block.pack(&trits, scales);
        }
        if let Some(code) = codes.iter().find(|code| self != Self::Q8_0 && **code > 15) {
            return wrong("codes of 4 bits".into(), code.to_string());
        }
        let mut bytes = Vec::with_capacity(scales.len() * self.bytes());
        for (index, codes) in codes.chunks_exact(self.weights()).enumerate() {
            bytes.extend(Dtype::F16.encode(&scales[index..=index]));
            if self == Self::Q4_1 {
                bytes.extend(Dtype::F16.encode(&minima[index..=index]));
            }
            match self {
                Self::Q8_0 => bytes.extend(codes.iter().map(|code| code ^ 0x80)),
                _ => bytes.extend(codes[..NIBBLES].iter().zip(&codes[NIBBLES..]).map(|(low, high)| low | high << 4)),
            }
        }
        Ok(bytes)
    }

    /// Codes and scales of blocks.
    ///
    /// # Errors
    /// [`Error::Shape`] for bytes that are no whole blocks, for a code that is no trit, and for [`Self::Q2_K`].
    pub fn unpack(self, bytes: &[u8]) -> Result<BlockWeights> {
        self.check(bytes)?;
        if let Some(block) = self.ternary() {
            let (trits, scales) = block.unpack(bytes)?;
            let codes = trits.into_iter().map(|trit| (trit + 2).cast_unsigned()).collect();
            return Ok(BlockWeights { codes, scales, minima: Vec::new() });
        }
        let mut weights = BlockWeights::default();
        for block in bytes.chunks_exact(self.bytes()) {
            weights.scales.extend(Dtype::F16.decode(&block[..2]));
            match self {
                Self::Q8_0 => weights.codes.extend(block[2..].iter().map(|code| code ^ 0x80)),
                Self::Q4_0 | Self::Q4_1 => {
                    let (head, pairs) = block.split_at(block.len() - NIBBLES);
                    weights.minima.extend(Dtype::F16.decode(&head[2..]));
                    weights.codes.extend(pairs.iter().map(|pair| pair & 15));
                    weights.codes.extend(pairs.iter().map(|pair| pair >> 4));
                }
                Self::Q2_K | Self::TQ1_0 | Self::TQ2_0 => {
                    let (expected, found) = ("blocks with a scale each".into(), format!("{self:?}"));
                    return Err(Error::Shape { op: "blocks", expected, found });
                }
            }
        }
        Ok(weights)
    }

    /// The weights of blocks in f32.
    ///
    /// # Errors
    /// As [`Self::unpack`], but all types have values.
    pub fn values(self, bytes: &[u8]) -> Result<Vec<f32>> {
        if self == Self::Q2_K {
            self.check(bytes)?;
            return Ok(bytes.as_chunks().0.iter().flat_map(|block| SuperBlock::read(block).values()).collect());
        }
        let BlockWeights { codes, scales, minima } = self.unpack(bytes)?;
        let middle = match self {
            Self::Q4_0 => 8,
            Self::Q8_0 => 128,
            Self::Q4_1 | Self::Q2_K => 0,
            Self::TQ1_0 | Self::TQ2_0 => 2,
        };
        let value = |(at, code): (usize, &u8)| {
            let block = at / self.weights();
            let steps = f32::from(i16::from(*code) - middle);
            scales[block] * steps + minima.get(block).copied().unwrap_or(0.0)
        };
        Ok(codes.iter().enumerate().map(value).collect())
    }

    fn check(self, bytes: &[u8]) -> Result<()> {
        if bytes.len().is_multiple_of(self.bytes()) {
            return Ok(());
        }
        let expected = format!("blocks of {} bytes", self.bytes());
        Err(Error::Shape { op: "blocks", expected, found: format!("{} bytes", bytes.len()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("hex");
        hex.as_bytes().chunks(2).map(digit).collect()
    }

    /// The bytes that the gguf package makes of `(37 i mod 64 - 32) / 16`.
    const VECTORS: [(BlockType, &str); 3] = [
        (BlockType::Q4_0, "003440d973fc952ec851ea731da63fc862fb"),
        (BlockType::Q4_1, "333400c040d962fb952eb751da730c953ec851ea"),
        (BlockType::Q8_0, "08248114a93cd063f88d20b547dc6f04992cc053e87b10a538cc5ff4891cb143d86b"),
    ];

    #[test]
    fn blocks_are_those_of_gguf() {
        for (block, hex) in VECTORS {
            let expected = bytes(hex);
            let weights = block.unpack(&expected).expect("one block");
            assert_eq!(block.pack(&weights).expect("one block"), expected, "{block:?}");
            let step = weights.scales[0];
            for (i, value) in block.values(&expected).expect("one block").into_iter().enumerate() {
                #[allow(clippy::cast_precision_loss, reason = "small numbers")]
                let original = ((i * 37 % 64) as f32 - 32.0) / 16.0;
                // The largest value of Q4_0 is cut off by up to a step.
                assert!((value - original).abs() <= step, "{block:?} {i}: {value}, not {original}");
            }
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for block in BlockType::ALL {
            assert!(block.unpack(&vec![0; block.bytes() + 1]).is_err());
            assert!(block.values(&vec![0; block.bytes()]).is_ok());
        }
        let wide = BlockWeights { codes: vec![16; 32], scales: vec![1.0], minima: vec![] };
        assert!(BlockType::Q4_0.pack(&wide).is_err());
        assert!(BlockType::Q4_1.pack(&BlockWeights { codes: vec![1; 32], ..wide }).is_err(), "no minimum");
    }
}
