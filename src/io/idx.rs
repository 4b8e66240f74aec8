//! The format of MNIST: bytes in an array of any number of axes.

use std::path::Path;

use super::file::read_limited;
use super::gzip::{gunzip, is_gzip};
use crate::error::{Error, Result};

/// The largest file read, packed or not; MNIST's training images are 47 MB.
const MAX_BYTES: u64 = 1 << 30;
/// Two zeros, and the type of unsigned bytes; the number of axes follows.
const MAGIC: [u8; 3] = [0, 0, 8];

/// An array of bytes from an idx file, row-major; packed by gzip or not.
///
/// ```
/// use bitsmith::io::Idx;
/// # let file = tempfile::NamedTempFile::new().unwrap();
/// # let path = file.path();
/// std::fs::write(path, [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6]).unwrap();
/// let idx = Idx::read(path)?;
/// assert_eq!((idx.shape(), idx.bytes()), (&[2, 3][..], &[1, 2, 3, 4, 5, 6][..]));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Idx {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Format`] if it is no array of bytes or has another length than its shape
    /// says, [`Error::Limit`] for more than a gigabyte.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_limited(path, MAX_BYTES)?;
        Self::parse(path, if is_gzip(&bytes) { gunzip(path, &bytes, MAX_BYTES as usize)? } else { bytes })
    }

    /// The array in the content of a file; `path` serves the messages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(path: &Path, mut bytes: Vec<u8>) -> Result<Self> {
        let wrong = |detail: String| Error::format(path, detail);
        let axes = match bytes.get(..4) {
            Some([magic @ .., axes]) if *magic == MAGIC => usize::from(*axes),
            _ => {
                return Err(wrong("is no idx file of bytes: it must begin with 0, 0, 8 and its number of axes".into()));
            }
        };
        let start = 4 + 4 * axes;
        let sizes = bytes.get(4..start).ok_or_else(|| wrong(format!("ends before its {axes} sizes")))?;
        let shape: Vec<usize> = sizes.as_chunks().0.iter().map(|size| u32::from_be_bytes(*size) as usize).collect();
        let expected = shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
        if expected != Some(bytes.len() - start) {
            return Err(wrong(format!("has {} bytes of data, but the shape {shape:?}", bytes.len() - start)));
        }
        bytes.drain(..start);
        Ok(Self { shape, bytes })
    }

    /// Extent of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values, row-major.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let parse = |bytes: &[u8]| Idx::parse("set.idx".as_ref(), bytes.to_vec());
        assert_eq!(parse(&[0, 0, 8, 1, 0, 0, 0, 1, 9]).unwrap().bytes(), [9]);
        for (bytes, words) in [
            (&[][..], "is no idx file"),
            (&[0, 0, 13, 1, 0, 0, 0, 0], "is no idx file"),
            (&[0, 0, 8, 2, 0, 0, 0, 1], "ends before its 2 sizes"),
            (&[0, 0, 8, 1, 0, 0, 0, 2, 9], "has 1 bytes of data, but the shape [2]"),
            (&[0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255], "has 0 bytes of data"),
        ] {
            let error = parse(bytes).unwrap_err().to_string();
            assert!(error.starts_with("set.idx: ") && error.contains(words), "{error}");
        }
    }
}
