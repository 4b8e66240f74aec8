//! The documents of a source, one after the other.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::json_lines::JsonLines;
#[cfg(feature = "parquet")]
use super::parquet::ParquetRows;
use super::{Format, TextSource};
use crate::error::{Error, Result};
use crate::io::file::utf8;
use crate::io::text::{MAX_TEXT_BYTES, Text, hexadecimal};

/// What joins rows that are lines of one document.
const BETWEEN_LINES: &str = "\n\n";

/// An iterator over documents; made by [`TextSource::documents`]. Rows are read as they are asked for, a plain text and
/// joined rows as a whole. After an error there is nothing more.
#[derive(Debug)]
pub struct Documents {
    /// What reports call the source.
    name: String,
    files: VecDeque<PathBuf>,
    field: String,
    separator: Option<String>,
    joined: bool,
    /// Documents that may still come.
    left: usize,
    /// Whether one has come.
    any: bool,
    last: PathBuf,
    open: Option<Open>,
    digest: TextDigest,
}

/// A file that is being read.
#[derive(Debug)]
enum Open {
    Plain(std::vec::IntoIter<String>),
    JsonLines(JsonLines),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetRows>),
}

/// What identifies the text that was read.
#[derive(Debug)]
enum TextDigest {
    /// A single plain text: SHA-256 of the file.
    File(String),
    /// Anything else: of the documents that came, each after its length.
    Documents(Sha256),
}

impl Documents {
    pub(super) fn open(source: &TextSource, separator: Option<&str>, max_documents: Option<usize>) -> Result<Self> {
        if separator == Some("") {
            return Err(Error::config("documents", "the separator is empty; `<|endoftext|>` is common"));
        }
        if source.field.is_empty() {
            return Err(Error::config("text_field", "it is empty; `text` is common"));
        }
        let Some(last) = source.files.last() else {
            return Err(Error::config("text", "there is no file; give one or a name on the hub"));
        };
        Ok(Self {
            name: source.name(),
            files: source.files.iter().cloned().collect(),
            field: source.field.clone(),
            separator: separator.map(str::to_owned),
            joined: source.joined,
            left: max_documents.unwrap_or(usize::MAX),
            any: false,
            last: last.clone(),
            open: None,
            digest: TextDigest::Documents(Sha256::new()),
        })
    }

    /// The documents of a file that is in memory. The ending of `path` says what it holds; otherwise it serves the
    /// messages only.
    ///
    /// # Errors
    /// What is wrong with a parquet file as a whole, or a text that is not UTF-8. Other damage is told by the iterator.
    pub fn parse(path: &Path, bytes: Vec<u8>, field: &str) -> Result<Self> {
        let source = TextSource { field: field.to_owned(), ..path.into() };
        let mut documents = Self::open(&source, None, None)?;
        documents.files.clear();
        documents.open = Some(match Format::of(path) {
            Format::Plain => Open::Plain(vec![utf8(path, bytes)?].into_iter()),
            Format::JsonLines => Open::JsonLines(JsonLines::new(path, Cursor::new(bytes), field)),
            #[cfg(feature = "parquet")]
            Format::Parquet => Open::Parquet(Box::new(ParquetRows::parse(path, bytes, field)?)),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => return Err(no_parquet(path)),
        });
        Ok(documents)
    }

    /// What reports call the source.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of what was read, in lower-case hexadecimal: of the file, if the source is one plain text; otherwise of
    /// the documents so far, each after its length as 8 bytes, the lowest first.
    pub fn sha256(&self) -> String {
        match &self.digest {
            TextDigest::File(sha256) => sha256.clone(),
            TextDigest::Documents(digest) => hexadecimal(&digest.clone().finalize()),
        }
    }

    fn read(&mut self) -> Result<Option<String>> {
        if self.left == 0 {
            return Ok(None);
        }
        let document = if self.joined { self.join()? } else { self.next_written()? };
        match &document {
            Some(document) => {
                self.left -= 1;
                self.any = true;
                if let TextDigest::Documents(digest) = &mut self.digest {
                    digest.update((document.len() as u64).to_le_bytes());
                    digest.update(document.as_bytes());
                }
            }
            None if !self.any => return Err(Error::format(&self.last, "there is no text in it")),
            None => {}
        }
        Ok(document)
    }

    /// The next document; a row of white space alone is none.
    fn next_written(&mut self) -> Result<Option<String>> {
        while let Some(row) = self.next_row()? {
            if matches!(self.open, Some(Open::Plain(_))) || !row.trim().is_empty() {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// All rows as one document; none the second time.
    fn join(&mut self) -> Result<Option<String>> {
        let Some(mut all) = self.next_row()? else { return Ok(None) };
        while let Some(row) = self.next_row()? {
            let wanted = (all.len() + BETWEEN_LINES.len() + row.len()) as u64;
            if wanted > MAX_TEXT_BYTES {
                let what = format!("{}, joined to one document", self.name);
                return Err(Error::Limit { what, wanted, allowed: MAX_TEXT_BYTES });
            }
            all += BETWEEN_LINES;
            all += &row;
        }
        Ok(Some(all).filter(|all| !all.trim().is_empty()))
    }

    fn next_row(&mut self) -> Result<Option<String>> {
        loop {
            let row = match &mut self.open {
                Some(Open::Plain(documents)) => documents.next(),
                Some(Open::JsonLines(rows)) => rows.next()?,
                #[cfg(feature = "parquet")]
                Some(Open::Parquet(rows)) => rows.next()?,
                None => None,
            };
            if row.is_some() {
                return Ok(row);
            }
            match self.files.pop_front() {
                Some(file) => self.open = Some(self.start(&file)?),
                None => return Ok(None),
            }
        }
    }

    fn start(&mut self, path: &Path) -> Result<Open> {
        match Format::of(path) {
            Format::Plain => {
                let text = Text::read(path)?;
                if !self.any && self.files.is_empty() && self.open.is_none() && !self.joined {
                    self.digest = TextDigest::File(text.sha256().to_owned());
                }
                let documents = text.documents(self.separator.as_deref(), Some(self.left))?;
                Ok(Open::Plain(documents.into_iter().map(str::to_owned).collect::<Vec<_>>().into_iter()))
            }
            Format::JsonLines => {
                let file = File::open(path).map_err(|e| Error::io(path, e))?;
                Ok(Open::JsonLines(JsonLines::new(path, BufReader::new(file), &self.field)))
            }
            #[cfg(feature = "parquet")]
            Format::Parquet => Ok(Open::Parquet(Box::new(ParquetRows::open(path, &self.field)?))),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => Err(no_parquet(path)),
        }
    }
}

#[cfg(not(feature = "parquet"))]
fn no_parquet(path: &Path) -> Error {
    let remedy = "this build is without the feature `parquet`; give the text as JSON lines".to_owned();
    Error::Unsupported { what: format!("{}, a parquet file,", path.display()), remedy }
}

impl Iterator for Documents {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.left = 0;
        }
        next
    }
}
