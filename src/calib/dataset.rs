//! Sequences of tokens to calibrate on.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::io::{Checksum, Digest, Documents, ModelConfig, TextFacts, TokenStream, Tokenizer};

/// Reading a text ends soon after so many times the tokens that are taken: enough to choose from.
const READ_AHEAD: usize = 16;
/// Tokens of a sequence where no number is asked for and the model sees that many.
const DEFAULT_SEQ_LEN: usize = 2048;

/// The text of [`CalibrationDataset::from_own_text`].
const OWN_TEXT: &str = include_str!("own_text.txt");
/// What reports call it.
const OWN_TEXT_NAME: &str = "a text of bitsmith's own";

/// How many sequences are taken, and how long they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct CalibrationConfig {
    /// Sequences to calibrate on, at even distances over the text [default: what the method needs, 128 as a rule]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", requires = "calib"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// Tokens of a sequence [default: 2048, or the model's context if that is shorter]
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS", requires = "calib"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq_len: Option<usize>,
}

impl CalibrationConfig {
    /// Tokens of a sequence for a model that sees `context` tokens.
    ///
    /// # Errors
    /// [`Error::Config`] for a length of 0 or over the context.
    pub fn seq_len(&self, context: usize) -> Result<usize> {
        match self.seq_len.unwrap_or(DEFAULT_SEQ_LEN.min(context)) {
            0 => Err(Error::config("seq_len", "0 tokens; take at least 1")),
            length if length > context => {
                let detail = format!("{length} tokens, but the model's context is {context}; take fewer");
                Err(Error::config("seq_len", detail))
            }
            length => Ok(length),
        }
    }
}

/// Token sequences of one length.
///
/// ```
/// use bitsmith::calib::CalibrationDataset;
/// let dataset = CalibrationDataset::from_sequences(vec![vec![1, 2, 3], vec![4, 5, 6]])?;
/// assert_eq!((dataset.sequences().len(), dataset.seq_len()), (2, 3));
/// assert!(CalibrationDataset::from_sequences(vec![vec![1], vec![2, 3]]).is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalibrationDataset {
    sequences: Vec<Vec<u32>>,
    text: Option<TextFacts>,
}

impl CalibrationDataset {
    /// Tokens of a sequence of [`Self::from_own_text`].
    pub const OWN_TEXT_SEQ_LEN: usize = 128;

    /// Of sequences as they are.
    ///
    /// # Errors
    /// [`Error::Config`] if there is none, if they have no tokens, or if their lengths differ.
    pub fn from_sequences(sequences: Vec<Vec<u32>>) -> Result<Self> {
        let length = sequences.first().map_or(0, Vec::len);
        if length == 0 {
            return Err(Error::config("calib", "there are no tokens; give at least one sequence"));
        }
        if let Some((index, other)) = sequences.iter().enumerate().find(|(_, sequence)| sequence.len() != length) {
            let detail =
                format!("sequence {index} has {} tokens, the first has {length}; one length is needed", other.len());
            return Err(Error::config("calib", detail));
        }
        Ok(Self { sequences, text: None })
    }

    /// `samples` sequences of `seq_len` tokens out of a stream of T tokens: sequence i starts at token
    /// `i (T - seq_len) / (samples - 1)`, rounded down, so that they lie evenly over all of the text. Where the text is
    /// shorter than all of them together, they overlap.
    ///
    /// Nothing is drawn, so that the same text gives the same sequences, whatever the seed of a method, and short
    /// documents need no rule of their own: sequences run across the ends of documents.
    ///
    /// # Errors
    /// [`Error::Config`] for 0 samples or 0 tokens, and for a stream without so many different sequences.
    pub fn from_stream(stream: &TokenStream, samples: usize, seq_len: usize) -> Result<Self> {
        let ids = stream.ids();
        if samples == 0 {
            return Err(Error::config("samples", "0; take at least 1"));
        }
        let room = match ids.len().checked_sub(seq_len) {
            Some(room) if samples - 1 <= room => room as u128,
            _ => {
                let detail = format!(
                    "{samples} of {seq_len} tokens, but the text has only {}; take a longer text, fewer samples or a \
                     smaller --seq-len",
                    ids.len()
                );
                return Err(Error::config("samples", detail));
            }
        };
        let gaps = (samples as u128 - 1).max(1);
        #[allow(clippy::cast_possible_truncation, reason = "at most `room`, which is a length in memory")]
        let starts = (0..samples as u128).map(|i| (i * room / gaps) as usize);
        Self::from_sequences(starts.map(|start| ids[start..start + seq_len].to_vec()).collect())
    }

    /// [`Self::from_stream`] of documents, each encoded by itself and joined. Of a long text only the first documents are
    /// read, up to about 16 times the tokens that are taken.
    ///
    /// # Errors
    /// Those of the documents, of the tokenizer and of [`Self::from_stream`].
    pub fn from_text(documents: Documents, tokenizer: &Tokenizer, samples: usize, seq_len: usize) -> Result<Self> {
        let (stream, facts) = read(documents, tokenizer, samples, seq_len)?;
        Ok(Self { text: Some(facts), ..Self::from_stream(&stream, samples, seq_len)? })
    }

    /// Sequences of a short text that comes with this crate, for methods that only look at what goes through the model in
    /// `folder`: as many as `samples`, or as the text has that differ, of 128 tokens, or the model's context if that is
    /// shorter.
    ///
    /// # Errors
    /// [`Error::Config`] for 0 samples; those of the model's configuration and tokenizer.
    pub fn from_own_text(folder: &Path, samples: usize) -> Result<Self> {
        let (config, _) = ModelConfig::read(folder)?;
        let tokenizer = Tokenizer::read(folder, config.vocab_size)?;
        let documents = Documents::parse(Path::new(OWN_TEXT_NAME), OWN_TEXT.as_bytes().to_vec(), "text")?;
        let (stream, facts) = TokenStream::read(documents, &tokenizer, usize::MAX)?;
        let seq_len = Self::OWN_TEXT_SEQ_LEN.min(config.context()).min(stream.ids().len());
        let samples = samples.min(stream.ids().len() - seq_len + 1);
        Ok(Self { text: Some(facts), ..Self::from_stream(&stream, samples, seq_len)? })
    }

    /// [`Self::from_text`] of at most `samples` sequences: of as many as the text has, if it is short.
    ///
    /// # Errors
    /// Those of [`Self::from_text`], but for a stream without so many sequences.
    pub fn from_text_up_to(
        documents: Documents,
        tokenizer: &Tokenizer,
        samples: usize,
        seq_len: usize,
    ) -> Result<Self> {
        let (stream, facts) = read(documents, tokenizer, samples, seq_len)?;
        let most = stream.ids().len().saturating_sub(seq_len) + 1;
        Ok(Self { text: Some(facts), ..Self::from_stream(&stream, samples.min(most), seq_len)? })
    }

    /// The sequences, all of one length.
    pub fn sequences(&self) -> &[Vec<u32>] {
        &self.sequences
    }

    /// Tokens of a sequence, at least 1.
    pub fn seq_len(&self) -> usize {
        self.sequences.first().map_or(0, Vec::len)
    }

    /// The text that the sequences come from, if it was one.
    pub fn text(&self) -> Option<&TextFacts> {
        self.text.as_ref()
    }

    /// Of shape and tokens: the part of a run's fingerprint that the data is.
    pub fn digest(&self) -> Digest {
        let mut checksum = Checksum::default();
        for length in [self.sequences.len(), self.seq_len()] {
            checksum.update(&(length as u64).to_le_bytes());
        }
        for id in self.sequences.iter().flatten() {
            checksum.update(&id.to_le_bytes());
        }
        checksum.finish()
    }
}

/// As much of a text as so many sequences are chosen from.
fn read(
    documents: Documents,
    tokenizer: &Tokenizer,
    samples: usize,
    seq_len: usize,
) -> Result<(TokenStream, TextFacts)> {
    let enough = samples.saturating_mul(seq_len).saturating_mul(READ_AHEAD);
    TokenStream::read(documents, tokenizer, enough)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::TextSource;

    const FOLDER: &str = "examples/tiny-llama";

    fn documents(most: Option<usize>) -> Result<(Documents, Tokenizer)> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
        let source = TextSource::from(folder.join("calibration.txt"));
        Ok((source.documents(Some("<|endoftext|>"), most)?, Tokenizer::read(&folder, 512)?))
    }

    fn text(samples: usize, seq_len: usize, max_documents: Option<usize>) -> Result<CalibrationDataset> {
        let (documents, tokenizer) = documents(max_documents)?;
        CalibrationDataset::from_text(documents, &tokenizer, samples, seq_len)
    }

    #[test]
    fn sequences_lie_evenly_over_the_text() {
        let all = text(1, 512, None).expect("it is long enough");
        let facts = all.text().expect("it comes from a text").clone();
        assert_eq!(facts.documents, 196);
        assert!(facts.source.ends_with("calibration.txt") && facts.sha256.len() == 64);
        let total = facts.tokens;
        let whole = text(1, total, None).expect("all of it");
        let stream = &whole.sequences()[0];
        assert_eq!(stream.len(), total);
        let dataset = text(7, 100, None).expect("it is long enough");
        for (i, sequence) in dataset.sequences().iter().enumerate() {
            let start = i * (total - 100) / 6;
            assert_eq!(sequence, &stream[start..start + 100], "sequence {i}");
        }
        // Short texts give sequences that overlap, but none twice.
        assert_eq!(text(3, total - 2, None).expect("they differ").sequences().len(), 3);
        let error = text(4, total - 2, None).expect_err("there are only three").to_string();
        assert!(error.contains("samples: 4 of") && error.contains(&total.to_string()), "{error}");
        let (documents, tokenizer) = documents(None).expect("they are there");
        let up_to = CalibrationDataset::from_text_up_to(documents, &tokenizer, 4, total - 2);
        assert_eq!(up_to.expect("as many as there are").sequences().len(), 3);
        assert!(text(0, 10, None).is_err() && text(1, 0, None).is_err() && text(1, total + 1, None).is_err());
    }

    #[test]
    fn the_digest_is_that_of_shape_and_tokens() {
        let digest = |sequences: &[&[u32]]| {
            let sequences = sequences.iter().map(|s| s.to_vec()).collect();
            CalibrationDataset::from_sequences(sequences).expect("one length").digest()
        };
        let one = digest(&[&[1, 2], &[3, 4]]);
        assert_eq!(one, digest(&[&[1, 2], &[3, 4]]));
        for other in [digest(&[&[1, 2, 3, 4]]), digest(&[&[1], &[2], &[3], &[4]]), digest(&[&[1, 2], &[4, 3]])] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn lengths_follow_the_context() {
        let length = |seq_len, context| CalibrationConfig { seq_len, ..Default::default() }.seq_len(context);
        assert_eq!(
            (length(None, 256).ok(), length(None, 4096).ok(), length(Some(9), 9).ok()),
            (Some(256), Some(2048), Some(9))
        );
        assert!(length(Some(10), 9).is_err() && length(Some(0), 9).is_err());
        let config: CalibrationConfig = serde_json::from_str(r#"{"samples": 3}"#).expect("settings");
        assert_eq!(config, CalibrationConfig { samples: Some(3), seq_len: None });
        assert!(serde_json::from_str::<CalibrationConfig>(r#"{"sample": 3}"#).is_err());
    }
}
