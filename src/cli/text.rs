//! How a text is cut for an evaluation.

use std::path::Path;

use bitsmith::eval::EvalRequest;
use bitsmith::{Error, Result};

/// The flags beside `--text`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Evaluation")]
pub(super) struct Cut {
    /// Tokens the model sees at once [default: 512, or the model's context if that is shorter]
    #[arg(long, value_name = "TOKENS", requires = "text")]
    window: Option<usize>,
    /// Tokens from the start of one window to that of the next; below the window, only the new tokens of each are
    /// scored [default: the window]
    #[arg(long, value_name = "TOKENS", requires = "text")]
    stride: Option<usize>,
    /// Use only this many tokens from the start of the text [default: all]
    #[arg(long, value_name = "N", requires = "text")]
    max_tokens: Option<usize>,
    /// Split the text at this separator; each document starts with the model's beginning token [default: the text is
    /// one document]
    #[arg(long, value_name = "SEPARATOR")]
    documents: Option<String>,
    /// Use only this many documents [default: all]
    #[arg(long, value_name = "N", requires_all = ["text", "documents"])]
    max_documents: Option<usize>,
}

impl Cut {
    /// Where texts are split.
    pub(super) fn separator(&self) -> Option<&str> {
        self.documents.as_deref()
    }

    /// The evaluation on the text of this file, which must be readable: better said now than after an hour's work.
    pub(super) fn request(&self, text: &Path) -> Result<EvalRequest> {
        std::fs::File::open(text).map_err(|e| Error::io(text, e))?;
        Ok(EvalRequest {
            text: text.to_path_buf(),
            window: self.window,
            stride: self.stride,
            max_tokens: self.max_tokens,
            documents: self.documents.clone(),
            max_documents: self.max_documents,
            ..Default::default()
        })
    }
}
