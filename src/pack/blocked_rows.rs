//! Ternary codes as Hugging Face's `bitnet` checkpoints hold them: a byte takes its four codes from the four quarters of
//! the rows.
//!
//! A code is t + 1 for a weight t of -1, 0 or 1. With `R = rows / 4`, byte `[r, c]` of `[R, cols]` holds
//!
//! ```text
//! bits     7 6     5 4     3 2     1 0
//! row    3R + r  2R + r   R + r     r      of column c
//! ```
//!
//! Here the codes are those of [`Packing::Rows`] for
//! [`Bits::TERNARY`], t + 2, 16 a word.

use rayon::prelude::*;

use super::Packing;
use crate::error::{Error, Result};
use crate::scheme::Bits;

const OP: &str = "blocked rows";
/// Rows that share a byte.
const SHARED: usize = 4;
/// Codes of a word.
const WORD: usize = 16;

/// The bytes `[rows / 4, cols]` of a matrix of packed codes.
///
/// ```
/// use bitsmith::{Bits, pack::{Packing, blocked_rows}};
/// let codes = [-1, 0, 1, 1, 0, -1, 1, 0].map(|t| (t + 2) as u8);
/// let words = Packing::Rows.pack(&codes, 8, 1, Bits::TERNARY)?;
/// let bytes = blocked_rows::pack(&words, 8, 1)?;
/// assert_eq!(bytes, [0x98, 0x49]);
/// assert_eq!(blocked_rows::unpack(&bytes, 8, 1)?, words);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if the rows are no multiple of 4, if the words are of another shape, or for a code 0.
pub fn pack(words: &[u32], rows: usize, cols: usize) -> Result<Vec<u8>> {
    let stride = stride(rows, cols, Packing::Rows.words(rows, cols, Bits::TERNARY), words.len())?;
    let quarter = rows / SHARED;
    let mut bytes = vec![0u8; quarter * cols];
    bytes.par_chunks_mut(cols).enumerate().try_for_each(|(r, bytes)| {
        for k in 0..SHARED {
            let row = k * quarter + r;
            let words = &words[row * stride..][..stride];
            for (col, byte) in bytes.iter_mut().enumerate() {
                let code = (words[col / WORD] >> (2 * (col % WORD))).to_le_bytes()[0] & 3;
                let Some(code) = code.checked_sub(1) else {
                    return Err(wrong("codes 1, 2 and 3", format!("code 0 in row {row}, column {col}")));
                };
                *byte |= code << (2 * k);
            }
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// The packed codes of a `[rows, cols]` matrix from its bytes.
///
/// # Errors
/// [`Error::Shape`] if the rows are no multiple of 4, if the bytes are of another number, or for a code 3, which means
/// no weight.
pub fn unpack(bytes: &[u8], rows: usize, cols: usize) -> Result<Vec<u32>> {
    let stride = stride(rows, cols, (rows / SHARED).saturating_mul(cols), bytes.len())?;
    if let Some(at) = bytes.iter().position(|byte| byte & (byte >> 1) & 0x55 != 0) {
        return Err(wrong("codes 0, 1 and 2", format!("code 3 in byte [{}, {}]", at / cols, at % cols)));
    }
    let quarter = rows / SHARED;
    let mut words = vec![0u32; rows * stride];
    words.par_chunks_mut(stride).enumerate().for_each(|(row, words)| {
        let (k, r) = (row / quarter, row % quarter);
        for (word, bytes) in words.iter_mut().zip(bytes[r * cols..][..cols].chunks(WORD)) {
            for (i, byte) in bytes.iter().enumerate() {
                *word |= (u32::from(byte >> (2 * k)) % 4 + 1) << (2 * i);
            }
        }
    });
    Ok(words)
}

/// Words of a row of a matrix that can be packed so, and has so many words or bytes.
fn stride(rows: usize, cols: usize, expected: usize, found: usize) -> Result<usize> {
    if rows == 0 || cols == 0 || !rows.is_multiple_of(SHARED) {
        return Err(wrong("rows in fours, and columns", format!("[{rows}, {cols}]")));
    }
    if expected != found {
        return Err(wrong(&format!("{expected} for [{rows}, {cols}]"), found.to_string()));
    }
    Ok(Packing::Rows.words(1, cols, Bits::TERNARY))
}

fn wrong(expected: &str, found: String) -> Error {
    Error::Shape { op: OP, expected: expected.to_owned(), found }
}
