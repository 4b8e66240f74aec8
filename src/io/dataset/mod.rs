//! Documents from files: plain text, JSON lines, parquet.

mod documents;
#[cfg(feature = "parquet")]
mod footer;
mod json_lines;
#[cfg(feature = "parquet")]
mod parquet;
mod tokens;

use std::path::{Path, PathBuf};

pub use documents::Documents;
pub use tokens::TextFacts;

/// The field of a row that holds its text, unless another one is named.
const DEFAULT_FIELD: &str = "text";

/// Where a text lies: one file, or the files of a dataset one after the other. The ending of a file says what it is:
/// `.jsonl` and `.json` one JSON object per line, `.parquet` rows with columns, all others plain text in UTF-8.
///
/// ```
/// use bitsmith::io::TextSource;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("rows.jsonl");
/// std::fs::write(&path, "{\"text\": \"One.\"}\n{\"text\": \"Two.\"}\n").unwrap();
/// let documents = TextSource::from(path).documents(None, None)?;
/// assert_eq!(documents.collect::<Result<Vec<_>, _>>()?, ["One.", "Two."]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSource {
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// What reports call it; without a name it is called like its first file.
    pub name: Option<String>,
    /// The field or column of a row that holds its text.
    pub field: String,
    /// Whether the rows are lines of one document, which is them joined by empty lines. Otherwise each is a document.
    pub joined: bool,
}

impl TextSource {
    /// What reports call it.
    pub fn name(&self) -> String {
        let file = || self.files.first().map(|file| file.display().to_string());
        self.name.clone().or_else(file).unwrap_or_default()
    }

    /// The first `max_documents` documents. A plain text is split at `separator`, its documents stripped of white space
    /// at both ends, empty ones left out; without a separator it is one document. Rows are as they are; those of white
    /// space alone are left out.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for an empty separator, a field without a name, and no file. What is wrong with a file
    /// is told by the iterator.
    pub fn documents(&self, separator: Option<&str>, max_documents: Option<usize>) -> crate::Result<Documents> {
        Documents::open(self, separator, max_documents)
    }
}

impl Default for TextSource {
    /// No file.
    fn default() -> Self {
        Self { files: Vec::new(), name: None, field: DEFAULT_FIELD.to_owned(), joined: false }
    }
}

impl From<PathBuf> for TextSource {
    fn from(file: PathBuf) -> Self {
        Self { files: vec![file], ..Self::default() }
    }
}

impl From<&Path> for TextSource {
    fn from(file: &Path) -> Self {
        file.to_path_buf().into()
    }
}

impl From<&str> for TextSource {
    fn from(file: &str) -> Self {
        PathBuf::from(file).into()
    }
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Plain,
    JsonLines,
    Parquet,
}

impl Format {
    /// By the ending of its name.
    fn of(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("jsonl" | "json" | "ndjson") => Self::JsonLines,
            Some("parquet") => Self::Parquet,
            _ => Self::Plain,
        }
    }
}
