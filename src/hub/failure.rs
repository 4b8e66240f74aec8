//! What hf-hub reports, as errors of this crate that say what to do.

use std::future::Future;
use std::io::ErrorKind;
use std::time::Duration;

use hf_hub::{HFError, HFResult};

use super::RepoId;
use crate::error::Error;

/// A server that is silent for so long is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for an answer, but not for ever.
pub(super) async fn patiently<O>(work: impl Future<Output = HFResult<O>>) -> HFResult<O> {
    let silent = || std::io::Error::new(ErrorKind::TimedOut, format!("no answer for {} seconds", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(HFError::Io(silent())))
}

/// Whether no hub was found at all.
pub(super) fn is_unreachable(error: &HFError) -> bool {
    match error {
        HFError::Request { source, .. } => source.is_connect() || source.is_timeout(),
        HFError::Io(error) => error.kind() == ErrorKind::TimedOut,
        _ => false,
    }
}

/// Whether the way to the hub broke, so that asking again may help.
pub(super) fn is_break(error: &HFError) -> bool {
    matches!(error, HFError::Request { .. } | HFError::Xet { .. }) || is_unreachable(error)
}

/// Who was asked for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) endpoint: &'a str,
    pub(super) id: &'a RepoId,
    /// What it is, as `model`.
    pub(super) kind: &'static str,
    /// A file, where it was one.
    pub(super) file: Option<&'a str>,
}

impl Asked<'_> {
    /// An error about it.
    pub(super) fn error(&self, detail: impl Into<String>, remedy: impl Into<String>) -> Error {
        let detail = match self.file {
            Some(file) => format!("{file}: {}", detail.into()),
            None => detail.into(),
        };
        Error::Hub { id: self.id.to_string(), detail, remedy: remedy.into() }
    }

    /// The server does not talk like a hub.
    pub(super) fn no_hub(&self, what: &str) -> Error {
        let remedy = "check HF_ENDPOINT, and whether a proxy or a login page stands in between";
        self.error(format!("{} does not answer as a hub does: {what}", self.endpoint), remedy)
    }

    /// The connection broke, but it can be taken up again.
    pub(super) fn broken(&self, how: &str) -> Error {
        self.error(format!("the connection broke: {how}"), "run the same again: it goes on where it stopped")
    }

    /// What came back instead of an answer.
    pub(super) fn failed(&self, error: HFError) -> Error {
        match error {
            HFError::AuthRequired { context } => self.status(401, context.error_code.as_deref(), None),
            HFError::Forbidden { context } => self.status(403, context.error_code.as_deref(), None),
            HFError::RevisionNotFound { context, .. }
            | HFError::RepoNotFound { context, .. }
            | HFError::EntryNotFound { context, .. } => {
                self.status(404, context.and_then(|context| context.error_code).as_deref(), None)
            }
            HFError::RateLimited { retry_after, .. } => self.status(429, None, retry_after),
            HFError::Http { context } => self.status(context.status.as_u16(), context.error_code.as_deref(), None),
            HFError::Json(error) => self.no_hub(&error.to_string()),
            HFError::MalformedResponse { what, .. } => self.no_hub(&what),
            HFError::Url(error) => Error::config("HF_ENDPOINT", format!("`{}`: {error}", self.endpoint)),
            error if is_unreachable(&error) => self.error(
                format!("cannot reach {}: {}", self.endpoint, cause(&error)),
                format!(
                    "check the network and HF_ENDPOINT; a {} that was fetched before is found with --offline",
                    self.kind
                ),
            ),
            HFError::Request { source, .. } if is_json(&source) => self.no_hub("the answer is no JSON"),
            error => self.broken(&cause(&error)),
        }
    }

    /// Its page for people.
    pub(super) fn page(&self) -> String {
        let folder = if self.kind == "model" { "" } else { "datasets/" };
        format!("{}/{folder}{}", self.endpoint, self.id.path())
    }

    /// What on this machine a name may have been meant for.
    fn local(&self) -> &'static str {
        if self.kind == "model" { "a folder" } else { "a file" }
    }

    fn status(&self, status: u16, code: Option<&str>, wait: Option<Duration>) -> Error {
        let (kind, page) = (self.kind, self.page());
        let revision = self.id.revision();
        match (status, code) {
            (401 | 403, Some("GatedRepo")) => self.error(
                format!("it is gated: its licence must be accepted first ({status})"),
                format!("accept it at {page} and set HF_TOKEN to a token of the same account"),
            ),
            (401, _) => self.error(
                format!("there is no such {kind}, or it is not shown to everybody (401)"),
                format!(
                    "check the spelling, and the path if {} was meant; for a private or gated {kind} set HF_TOKEN",
                    self.local()
                ),
            ),
            (403, _) => self.error(
                "the token in HF_TOKEN may not read it (403)",
                format!("ask for access at {page}, or use a token that has it"),
            ),
            (404, Some("RevisionNotFound")) => self.error(
                format!("it has no branch, tag or commit `{revision}` (404)"),
                format!("its revisions are listed at {page}/tree/main"),
            ),
            (404, _) if self.file.is_some() => self.error(
                format!("there is no such file in revision `{revision}` (404)"),
                format!("its files are listed at {page}/tree/{revision}"),
            ),
            (404, _) if self.id.has_revision() => self.error(
                format!("there is no such {kind} on the hub, or it has no revision `{revision}` (404)"),
                format!("check the spelling of both at {page}"),
            ),
            (404, _) => self.error(
                format!("there is no such {kind} on the hub (404)"),
                format!("check the spelling, and the path if {} was meant", self.local()),
            ),
            (429, _) => self.error(
                "the hub has had too many requests from here (429)",
                match wait {
                    Some(wait) => format!("wait {} seconds and run the same again", wait.as_secs()),
                    None => {
                        "wait some minutes and run the same again, or set HF_TOKEN: members may ask more".to_owned()
                    }
                },
            ),
            (500.., _) => self.error(
                format!("the hub fails with status {status}, at several tries"),
                "run the same again later: what has arrived is kept",
            ),
            _ => self.no_hub(&format!("status {status}")),
        }
    }
}

/// The deepest cause, which names what the layers above it only paraphrase.
fn cause(error: &HFError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Whether an answer arrived whole and could not be read.
fn is_json(error: &dyn std::error::Error) -> bool {
    error.source().is_some_and(|source| source.is::<serde_json::Error>() || is_json(source))
}
