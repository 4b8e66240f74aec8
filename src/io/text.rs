//! Text to evaluate or calibrate on.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::file::read_text;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// The largest text read; above it the tokens of one run would not fit a machine anyway.
pub(super) const MAX_TEXT_BYTES: u64 = 4 << 30;

/// A text file.
#[derive(Clone, Debug)]
pub struct Text {
    path: PathBuf,
    content: String,
    sha256: String,
}

impl Text {
    /// Reads a UTF-8 file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Format`] with the byte offset if it is not UTF-8.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self::new(path, read_text(path, MAX_TEXT_BYTES)?))
    }

    /// A text that is in memory already; `path` serves the messages only.
    pub fn new(path: &Path, content: String) -> Self {
        let sha256 = hexadecimal(&Sha256::digest(content.as_bytes()));
        Self { path: path.to_path_buf(), content, sha256 }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of the text.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// SHA-256 of the file, in lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The first `max_documents` documents between `separator`s, stripped of white space at both ends, empty ones
    /// left out. Without a separator the whole text is one document and nothing is stripped.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty separator; [`Error::Format`] if no document is left.
    pub fn documents(&self, separator: Option<&str>, max_documents: Option<usize>) -> Result<Vec<&str>> {
        let documents: Vec<&str> = match separator {
            None => vec![self.content.as_str()],
            Some("") => return Err(Error::config("documents", "the separator is empty; `<|endoftext|>` is common")),
            Some(separator) => self
                .content
                .split(separator)
                .map(str::trim)
                .filter(|document| !document.is_empty())
                .take(max_documents.unwrap_or(usize::MAX))
                .collect(),
        };
        if documents.iter().all(|document| document.is_empty()) {
            return Err(Error::format(&self.path, "there is no text in it"));
        }
        Ok(documents)
    }
}

/// In lower case.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The token ids of a text, documents one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenStream {
    pub(super) ids: Vec<u32>,
}

impl TokenStream {
    /// Encodes each document by itself, with the beginning token if the tokenizer adds one, and joins the ids.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn encode(documents: &[&str], tokenizer: &Tokenizer) -> Result<Self> {
        let encoded: Vec<Vec<u32>> =
            documents.par_iter().map(|document| tokenizer.encode(document, true)).collect::<Result<_>>()?;
        Ok(Self { ids: encoded.concat() })
    }

    /// The ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Keeps the first `tokens` ids.
    pub fn truncate(&mut self, tokens: usize) {
        self.ids.truncate(tokens);
    }
}
