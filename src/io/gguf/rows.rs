//! The order of rows of query and key projections. The families' files keep the two halves of a head's rotary pairs apart;
//! GGUF's `llama` has the two rows of a pair beside each other.

use crate::error::{Error, Result};

/// Rows from the order of the family's files to that of GGUF; `bytes` are those of `rows` equal rows, `heads` share them.
///
/// ```
/// use bitsmith::io::gguf_rows;
/// let file = gguf_rows::to_file(&[0, 1, 2, 3, 4, 5, 6, 7], 8, 2)?;
/// assert_eq!(file, [0, 2, 1, 3, 4, 6, 5, 7]);
/// assert_eq!(gguf_rows::to_family(&file, 8, 2)?, [0, 1, 2, 3, 4, 5, 6, 7]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if the rows do not divide into pairs of each head.
pub fn to_file(bytes: &[u8], rows: usize, heads: usize) -> Result<Vec<u8>> {
    gather(bytes, rows, heads, |row, half| row % 2 * half + row / 2)
}

/// The way back.
///
/// # Errors
/// As [`to_file`].
pub fn to_family(bytes: &[u8], rows: usize, heads: usize) -> Result<Vec<u8>> {
    gather(bytes, rows, heads, |row, half| row % half * 2 + row / half)
}

/// Takes each row of a head from the place that `from` says, given half the rows of a head.
fn gather(bytes: &[u8], rows: usize, heads: usize, from: impl Fn(usize, usize) -> usize) -> Result<Vec<u8>> {
    let paired = heads > 0 && heads.checked_mul(2).is_some_and(|pairs| rows.is_multiple_of(pairs));
    if !paired || rows == 0 || !bytes.len().is_multiple_of(rows) {
        let found = format!("{rows} rows of {} bytes in all, {heads} heads", bytes.len());
        return Err(Error::Shape { op: "rotary rows", expected: "pairs of rows for each head".into(), found });
    }
    let (size, head) = (bytes.len() / rows, rows / heads);
    let place = |row: usize| (row / head * head + from(row % head, head / 2)) * size;
    Ok((0..rows).flat_map(|row| &bytes[place(row)..][..size]).copied().collect())
}
