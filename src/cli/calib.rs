//! Data that a method learns from.

use std::path::Path;

use bitsmith::calib::{CalibrationConfig, CalibrationDataset};
use bitsmith::hub::Split;
use bitsmith::io::{ModelConfig, Tokenizer};
use bitsmith::{Error, Result};

use super::model::HubArgs;
use super::text::{DocumentArgs, TEXTS, TextArg};

/// The flags of a method that takes data. A command that flattens them has `--documents` and its like of
/// [`DocumentArgs`] too, which hold for all of its texts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Calibration")]
pub(super) struct CalibArgs {
    /// Text to calibrate on: a file (plain text, or rows in .jsonl or .parquet), or a dataset on the hub such as pile-10k
    #[arg(long, value_name = "FILE|NAME", group = TEXTS)]
    calib: Option<TextArg>,
    #[command(flatten)]
    config: CalibrationConfig,
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

    /// Most bytes of activations in memory.
    pub(super) fn max_memory(&self) -> Option<u64> {
        self.cache_to_disk.then(|| u64::from(self.max_memory_mb) * 1_000_000)
    }

    /// The sequences for the model of a folder; where no number was typed, as many as `samples` says for their length, or
    /// as the text has.
    ///
    /// # Errors
    /// [`Error::Config`] without `--calib`; those of the hub, of the text, of the model's configuration and tokenizer,
    /// and of [`CalibrationDataset::from_text`].
    pub(super) fn load(
        &self,
        model_folder: &Path,
        samples: impl Fn(usize) -> usize,
        documents: &DocumentArgs,
        hub: &HubArgs,
        quiet: bool,
    ) -> Result<CalibrationDataset> {
        let Some(text) = &self.calib else {
            return Err(Error::config("calib", "this method learns from a text; name a file, or pile-10k"));
        };
        // What can be refused is refused before a download.
        ModelConfig::read(model_folder).map_err(|error| match error {
            Error::Unsupported { what, remedy } => {
                Error::Unsupported { what, remedy: format!("--method rtn takes any weights; {remedy}") }
            }
            other => other,
        })?;
        sequences(text, self.config, model_folder, samples, documents, hub, quiet)
    }
}

/// Sequences of a text for the model of a folder, as [`CalibArgs::load`].
///
/// # Errors
/// As [`CalibArgs::load`].
pub(super) fn sequences(
    text: &TextArg,
    shape: CalibrationConfig,
    model_folder: &Path,
    samples: impl Fn(usize) -> usize,
    documents: &DocumentArgs,
    hub: &HubArgs,
    quiet: bool,
) -> Result<CalibrationDataset> {
    let (config, _) = ModelConfig::read(model_folder)?;
    let tokenizer = Tokenizer::read(model_folder, config.vocab_size)?;
    let seq_len = shape.seq_len(config.context())?;
    let source = documents.find(text, "calib", Split::Train, hub, quiet)?;
    let read = source.documents(documents.separator(), documents.max_documents())?;
    match shape.samples {
        Some(samples) => CalibrationDataset::from_text(read, &tokenizer, samples, seq_len),
        None => CalibrationDataset::from_text_up_to(read, &tokenizer, samples(seq_len), seq_len),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        calib: CalibArgs,
        #[command(flatten)]
        documents: DocumentArgs,
        #[command(flatten)]
        hub: HubArgs,
    }

    fn load(line: &str) -> Result<CalibrationDataset> {
        let command = Flags::augment_args(clap::Command::new("quantize").no_binary_name(true));
        let matches = command.try_get_matches_from(line.split_whitespace());
        let flags = matches.and_then(|matches| Flags::from_arg_matches(&matches));
        let Flags { calib, documents, hub } = flags.map_err(|e| Error::config("flags", e.to_string()))?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny-llama");
        calib.load(&folder, |_| 128, &documents, &hub, true)
    }

    #[test]
    fn flags_become_sequences() {
        let text = concat!("--calib ", env!("CARGO_MANIFEST_DIR"), "/examples/tiny-llama/calibration.txt");
        let dataset =
            load(&format!("{text} --documents <|endoftext|> --max-documents 50 --samples 4")).expect("a text");
        assert_eq!((dataset.sequences().len(), dataset.seq_len()), (4, 256), "the model's context");
        assert_eq!(dataset.text().map(|text| text.documents), Some(50));
        assert_eq!(load(&format!("{text} --samples 2 --seq-len 9")).expect("a text").seq_len(), 9);
        for (line, words) in [
            ("", ["calib", "pile-10k"]),
            ("--documents x", ["required", "--calib"]),
            (&format!("{text} --seq-len 257"), ["seq_len", "256"]),
            (&format!("{text} --samples 0"), ["samples", "at least 1"]),
            ("--calib absent.txt", ["absent.txt", "no such file"]),
            ("--calib absent", ["calib", "OWNER/NAME"]),
        ] {
            let error = load(line).expect_err(line).to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{line}: {error}");
        }
    }
}
