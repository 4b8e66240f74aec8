//! Sequences to calibrate on.

use crate::error::{Error, Result};
use crate::io::{Checksum, Digest, TokenStream};

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

    /// `samples` sequences of `seq_len` tokens each, at even distances over the stream: number `i` starts at token
    /// `floor(i * (tokens - seq_len) / (samples - 1))`. Where the text is short they overlap.
    ///
    /// ```
    /// use bitsmith::calib::CalibrationDataset;
    /// use bitsmith::io::{TokenStream, Tokenizer};
    /// let tokenizer = Tokenizer::read("examples/tiny-llama".as_ref(), 1 << 20)?;
    /// let stream = TokenStream::encode(&["Once upon a time there was a small bird"], &tokenizer)?;
    /// let data = CalibrationDataset::from_stream(&stream, 3, 4)?;
    /// let (ids, last) = (stream.ids(), stream.ids().len() - 4);
    /// assert_eq!(data.sequences(), [&ids[..4], &ids[last / 2..][..4], &ids[last..]]);
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] if the stream holds no sequence, or fewer different ones than asked for.
    pub fn from_stream(stream: &TokenStream, samples: usize, seq_len: usize) -> Result<Self> {
        let (ids, tokens) = (stream.ids(), stream.ids().len());
        if seq_len == 0 || seq_len > tokens {
            let detail =
                format!("{seq_len}, but the text has {tokens} tokens; take a longer text or shorter sequences");
            return Err(Error::config("seq_len", detail));
        }
        let room = tokens - seq_len;
        if samples == 0 || samples - 1 > room {
            let detail = format!(
                "{samples}, but the text of {tokens} tokens has {} different sequences of {seq_len}; take a longer text \
                 or fewer samples, at least 1",
                room + 1
            );
            return Err(Error::config("samples", detail));
        }
        let gaps = (samples - 1).max(1) as u128;
        #[allow(clippy::cast_possible_truncation, reason = "at most `room`")]
        let start = |i: usize| (i as u128 * room as u128 / gaps) as usize;
        Self::from_sequences((0..samples).map(|i| ids[start(i)..][..seq_len].to_vec()).collect())
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
