//! The text that a method learns from.

use std::path::{Path, PathBuf};

use bitsmith::calib::CalibrationDataset;
use bitsmith::io::{ModelConfig, Text, TokenStream, Tokenizer};
use bitsmith::{Error, Result};

use super::model::HubArgs;

/// Longest sequences unless asked otherwise.
const SEQ_LEN: usize = 2048;

/// The flags of calibration.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Calibration")]
pub(super) struct CalibArgs {
    /// Let the method learn from this UTF-8 text; take another one than that of --text
    #[arg(long, value_name = "FILE")]
    calib: Option<PathBuf>,
    /// Split that text at this separator; each document starts with the model's beginning token [default: the separator
    /// of --documents, or else the text is one document]
    #[arg(long, value_name = "SEPARATOR", requires = "calib")]
    calib_documents: Option<String>,
    /// Use only this many documents of it [default: all]
    #[arg(long, value_name = "N", requires = "calib")]
    calib_max_documents: Option<usize>,
    /// Sequences to learn from, at even distances over the text [default: what the method needs, 128 as a rule]
    #[arg(long, value_name = "N", requires = "calib")]
    samples: Option<usize>,
    /// Tokens of a sequence [default: 2048, or the model's context if that is shorter]
    #[arg(long, value_name = "TOKENS", requires = "calib")]
    seq_len: Option<usize>,
    /// Hold what flows between the blocks in memory up to --max-memory-mb only, the rest in a temporary file beside
    /// --out; the result is the same
    #[arg(long, requires = "calib")]
    cache_to_disk: bool,
    /// Megabytes of it in memory
    #[arg(long, value_name = "MB", requires = "cache_to_disk", default_value_t = 512)]
    max_memory_mb: u32,
}

impl CalibArgs {
    /// Whether there is a text.
    pub(super) fn is_given(&self) -> bool {
        self.calib.is_some()
    }

    /// The same, with these where nothing else was typed.
    pub(super) fn with_defaults(&self, separator: Option<&str>, samples: usize) -> Self {
        let mut own = self.clone();
        own.calib_documents = own.calib_documents.or_else(|| separator.map(str::to_owned));
        own.samples = own.samples.or(Some(samples));
        own
    }

    /// Most bytes of activations in memory.
    pub(super) fn max_memory(&self) -> Option<u64> {
        self.cache_to_disk.then(|| u64::from(self.max_memory_mb) * 1_000_000)
    }

    /// The sequences, in the tokens of a model.
    pub(super) fn load(&self, model: &Path, _: &HubArgs, _quiet: bool) -> Result<CalibrationDataset> {
        let Some(file) = &self.calib else { return Err(Error::config("calib", "no text was given")) };
        let (config, _) = ModelConfig::read(model).map_err(|error| match error {
            Error::Unsupported { what, remedy } => {
                Error::Unsupported { what, remedy: format!("--method rtn takes any weights; {remedy}") }
            }
            other => other,
        })?;
        let text = Text::read(file)?;
        let documents = text.documents(self.calib_documents.as_deref(), self.calib_max_documents);
        let documents = documents.map_err(|error| match error {
            Error::Config { detail, .. } => Error::config("calib_documents", detail),
            other => other,
        })?;
        let stream = TokenStream::encode(&documents, &Tokenizer::read(model, config.vocab_size)?)?;
        let seq_len = self.seq_len.unwrap_or_else(|| SEQ_LEN.min(config.context()));
        CalibrationDataset::from_stream(&stream, self.samples.unwrap_or(1), seq_len)
    }
}
