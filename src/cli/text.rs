//! Text arguments: files, and names of datasets on the hub; how a text is cut.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bitsmith::eval::EvalRequest;
use bitsmith::hub::{DatasetId, Split};
use bitsmith::io::TextSource;
use bitsmith::{Error, Result};

use super::bar::Bar;
use super::interrupt;
use super::model::HubArgs;

/// The flags that need a text.
pub(super) const TEXTS: &str = "texts";

/// A text that was typed.
#[derive(Clone, Debug)]
pub(super) struct TextArg(OsString);

impl TextArg {
    /// The file of this name, or else the dataset on the hub, downloaded if it is not there yet. A file must be readable:
    /// better said now than after an hour's work. `flag` is what it was typed for.
    pub(super) fn find(&self, flag: &str, split: Split, hub: &HubArgs, quiet: bool) -> Result<TextSource> {
        let path = PathBuf::from(&self.0);
        if path.exists() {
            std::fs::File::open(&path).map_err(|e| Error::io(&path, e))?;
            return Ok(path.into());
        }
        let name = match self.0.to_str() {
            Some(name) if !is_path(name) => name,
            _ => return Err(Error::format(path, "there is no such file")),
        };
        let id: DatasetId = name.parse().map_err(|error| match error {
            Error::Config { detail, .. } => Error::config(flag, format!("{detail}; nor is it a file here")),
            other => other,
        })?;
        // `texts/storys` beside `texts/stories.txt` is a slip, no name on the hub.
        let repository = id.repository();
        if !repository.has_revision() && id.folder().is_none() && Path::new(repository.owner()).is_dir() {
            let detail = format!(
                "there is no such file in {}; if you mean the dataset of this name on the hub, type {id}@main",
                repository.owner()
            );
            return Err(Error::format(path, detail));
        }
        interrupt::listen();
        let files = hub.hub().fetch_dataset(&id, split, &mut Bar::new(quiet))?;
        let joined = id.rows_are_lines();
        Ok(TextSource { files, name: Some(id.to_string()), joined, ..TextSource::default() })
    }
}

impl From<OsString> for TextArg {
    fn from(text: OsString) -> Self {
        Self(text)
    }
}

/// Whether what was typed is meant as a path, there or not.
fn is_path(name: &str) -> bool {
    let path = name.split(['@', ':']).next().unwrap_or_default();
    let file = [".txt", ".jsonl", ".json", ".parquet", ".md", ".raw"].iter().any(|ending| path.ends_with(ending));
    // A drive has one letter.
    file || path.starts_with(['.', '/', '~']) || path.matches('/').count() > 1 || path.len() < 2 || name.contains('\\')
}

/// How the documents of a text are told apart.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Text")]
pub(super) struct DocumentArgs {
    /// Split a plain text at this separator; each document starts with the model's beginning token [default: the text
    /// is one document]
    #[arg(long, value_name = "SEPARATOR", requires = TEXTS)]
    documents: Option<String>,
    /// Use only this many documents [default: all]
    #[arg(long, value_name = "N", requires = TEXTS)]
    max_documents: Option<usize>,
    /// Field of a JSON line, or column of a parquet file, that holds the text of a document [default: text]
    #[arg(long, value_name = "NAME", requires = TEXTS)]
    text_field: Option<String>,
    /// The rows of JSON lines or parquet are lines of one document: join them by empty lines, as is usual for wikitext
    #[arg(long, requires = TEXTS)]
    join_rows: bool,
}

impl DocumentArgs {
    /// As [`TextArg::find`], with the field that was asked for.
    pub(super) fn find(
        &self,
        text: &TextArg,
        flag: &str,
        split: Split,
        hub: &HubArgs,
        quiet: bool,
    ) -> Result<TextSource> {
        let mut source = text.find(flag, split, hub, quiet)?;
        if let Some(field) = &self.text_field {
            source.field.clone_from(field);
        }
        source.joined |= self.join_rows;
        Ok(source)
    }

    /// The separator of documents.
    pub(super) fn separator(&self) -> Option<&str> {
        self.documents.as_deref()
    }

    /// The most documents.
    pub(super) fn max_documents(&self) -> Option<usize> {
        self.max_documents
    }
}

/// How a text is cut for an evaluation.
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
    #[command(flatten)]
    pub(super) documents: DocumentArgs,
}

impl Cut {
    /// The evaluation on this text.
    pub(super) fn request(&self, text: &TextArg, hub: &HubArgs, quiet: bool) -> Result<EvalRequest> {
        Ok(EvalRequest {
            text: self.documents.find(text, "text", Split::Test, hub, quiet)?,
            window: self.window,
            stride: self.stride,
            max_tokens: self.max_tokens,
            documents: self.documents.separator().map(str::to_owned),
            max_documents: self.documents.max_documents(),
            ..Default::default()
        })
    }
}
