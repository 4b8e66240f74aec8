//! Where the bits of a code matrix lie in 32-bit words, and those of trits in bytes.

mod block;
pub mod blocked_rows;
mod packed;
mod super_block;
mod ternary;

pub use block::{BlockType, BlockWeights};
pub use packed::PackedTensor;
pub use super_block::SuperBlock;
pub use ternary::{TernaryBlock, TernaryPacking};

use crate::error::{Error, Result};
use crate::scheme::Bits;

/// A layout of a `[rows, cols]` matrix of codes.
///
/// Both layouts are dense little-endian bit streams: code `i` of a stream takes bits `i*b .. (i+1)*b`, counted
/// from the lowest bit of the first word, and may straddle two words (3 bits). Eight 4-bit codes 0 to 7:
///
/// ```text
/// bit   31..28 27..24 23..20 19..16 15..12 11..8  7..4  3..0
/// code     7      6      5      4      3      2     1     0     = 0x76543210
/// ```
///
/// ```
/// use bitsmith::{Bits, pack::Packing};
/// let codes: Vec<u8> = (0..8).collect();
/// let words = Packing::Rows.pack(&codes, 1, 8, Bits::new(4)?)?;
/// assert_eq!(words, [0x76543210]);
/// assert_eq!(Packing::Rows.unpack(&words, 1, 8, Bits::new(4)?)?, codes);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// One stream per row along the columns; each row starts at a word: `[rows, ceil(cols*b/32)]`.
    /// What the kernels read, and compressed-tensors' `weight_packed`.
    Rows,
    /// One stream per column along the rows: `[ceil(rows*b/32), cols]`. compressed-tensors' zero points.
    Columns,
}

impl Packing {
    /// Words of the packed matrix.
    pub const fn words(self, rows: usize, cols: usize, bits: Bits) -> usize {
        match self {
            Self::Rows => rows * words_of(cols, bits),
            Self::Columns => words_of(rows, bits) * cols,
        }
    }

    /// Packs row-major codes.
    pub fn pack(self, codes: &[u8], rows: usize, cols: usize, bits: Bits) -> Result<Vec<u32>> {
        expect("pack", rows * cols, codes.len())?;
        let mut words = vec![0; self.words(rows, cols, bits)];
        self.each_stream(rows, cols, bits, |code_at, word_at, length| {
            for i in 0..length {
                let (bit, code) = (i * bits.get() as usize, u32::from(codes[code_at(i)]));
                words[word_at(bit / 32)] |= code << (bit % 32);
                if bit % 32 + bits.get() as usize > 32 {
                    words[word_at(bit / 32 + 1)] |= code >> (32 - bit % 32);
                }
            }
        });
        Ok(words)
    }

    /// The row-major codes of a packed matrix.
    pub fn unpack(self, words: &[u32], rows: usize, cols: usize, bits: Bits) -> Result<Vec<u8>> {
        expect("unpack", self.words(rows, cols, bits), words.len())?;
        let mut codes = vec![0; rows * cols];
        self.each_stream(rows, cols, bits, |code_at, word_at, length| {
            for i in 0..length {
                let bit = i * bits.get() as usize;
                let mut code = words[word_at(bit / 32)] >> (bit % 32);
                if bit % 32 + bits.get() as usize > 32 {
                    code |= words[word_at(bit / 32 + 1)] << (32 - bit % 32);
                }
                codes[code_at(i)] = code.to_le_bytes()[0] & bits.max_code();
            }
        });
        Ok(codes)
    }

    /// Calls `visit` for each bit stream with the places of its codes and of its words, and its length.
    fn each_stream(
        self,
        rows: usize,
        cols: usize,
        bits: Bits,
        mut visit: impl FnMut(&dyn Fn(usize) -> usize, &dyn Fn(usize) -> usize, usize),
    ) {
        match self {
            Self::Rows => {
                let stride = words_of(cols, bits);
                (0..rows).for_each(|r| visit(&|i| r * cols + i, &|w| r * stride + w, cols));
            }
            Self::Columns => (0..cols).for_each(|c| visit(&|i| i * cols + c, &|w| w * cols + c, rows)),
        }
    }
}

const fn words_of(codes: usize, bits: Bits) -> usize {
    (codes * bits.get() as usize).div_ceil(32)
}

fn expect(op: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Shape { op, expected: expected.to_string(), found: found.to_string() })
}
