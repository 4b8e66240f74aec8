//! Sequences to calibrate on.

use crate::error::{Error, Result};
use crate::io::{Checksum, Digest, TokenStream, Windows};
use crate::random::Random;

/// Token sequences of one length.
///
/// ```
/// use bitsmith::calib::CalibrationDataset;
/// let data = CalibrationDataset::from_sequences(vec![vec![1, 50, 60], vec![1, 70, 80]])?;
/// assert_eq!((data.sequences().len(), data.seq_len()), (2, 3));
/// assert!(CalibrationDataset::from_sequences(vec![vec![1, 2], vec![1]]).is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalibrationDataset {
    sequences: Vec<Vec<u32>>,
}

impl CalibrationDataset {
    /// These sequences.
    ///
    /// # Errors
    /// [`Error::Config`] if there are none, or they differ in length or are empty.
    pub fn from_sequences(sequences: Vec<Vec<u32>>) -> Result<Self> {
        let length = sequences.first().map_or(0, Vec::len);
        if length == 0 || sequences.iter().any(|ids| ids.len() != length) {
            return Err(Error::config("samples", "sequences of one length, at least one, are needed"));
        }
        Ok(Self { sequences })
    }

    /// `samples` sequences of `seq_len` tokens each: the stream cut into neighbouring windows, of which the seed chooses.
    ///
    /// # Errors
    /// [`Error::Config`] if the stream holds fewer windows.
    pub fn from_stream(stream: &TokenStream, samples: usize, seq_len: usize, seed: u32) -> Result<Self> {
        let ids = stream.ids();
        let mut windows: Vec<_> = Windows::new(ids.len(), seq_len, seq_len)?.collect();
        if windows.len() < samples {
            let detail = format!(
                "{samples}, but the text has only {} sequences of {seq_len} tokens; take a longer text, fewer samples \
                 or a smaller seq_len",
                windows.len()
            );
            return Err(Error::config("samples", detail));
        }
        Random::new(seed).shuffle(&mut windows);
        Self::from_sequences(windows[..samples].iter().map(|window| ids[window.tokens()].to_vec()).collect())
    }

    /// The sequences.
    pub fn sequences(&self) -> &[Vec<u32>] {
        &self.sequences
    }

    /// Tokens of a sequence.
    pub fn seq_len(&self) -> usize {
        self.sequences[0].len()
    }

    /// A checksum of all tokens and of where sequences end.
    pub fn digest(&self) -> Digest {
        let mut checksum = Checksum::default();
        checksum.update(&(self.seq_len() as u64).to_le_bytes());
        self.sequences.iter().for_each(|ids| checksum.update(bytemuck::cast_slice(ids)));
        checksum.finish()
    }
}
