//! Names of repositories on the hub.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The longest name the hub gives.
const MAX_ID: usize = 96;
/// The revision where none is named.
const DEFAULT_REVISION: &str = "main";

/// A repository on the hub and a revision of it: `name`, `owner/name` or `owner/name@revision`.
///
/// ```
/// use bitsmith::hub::RepoId;
/// let id: RepoId = "facebook/opt-125m@refs/pr/1".parse()?;
/// assert_eq!((id.path().as_str(), id.revision()), ("facebook/opt-125m", "refs/pr/1"));
/// assert_eq!("gpt2".parse::<RepoId>()?.revision(), "main");
/// assert!("a/b/c".parse::<RepoId>().is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoId {
    /// Empty for the few old models that have none.
    owner: String,
    name: String,
    revision: Option<String>,
}

impl RepoId {
    /// User or organization; empty for the few old models that have none.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The name without its owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `owner/name`, without the revision.
    pub fn path(&self) -> String {
        if self.owner.is_empty() { self.name.clone() } else { format!("{}/{}", self.owner, self.name) }
    }

    /// Branch, tag or commit; `main` where none was named.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    /// Whether a revision was named.
    pub fn has_revision(&self) -> bool {
        self.revision.is_some()
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))
    }
}

impl FromStr for RepoId {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`] for what the hub would never give a repository as its name.
    fn from_str(text: &str) -> Result<Self> {
        Self::parse("model", text)
    }
}

impl RepoId {
    /// The name of a repository of this kind.
    ///
    /// # Errors
    /// [`Error::Config`] as [`Self::from_str`], which names the kind.
    pub(super) fn parse(kind: &str, text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::config(kind, format!("`{text}` is no name of a {kind}: {why}")));
        let (path, revision) = match text.split_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (text, None),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let (owner, name) = match parts[..] {
            [name] => ("", name),
            [owner, name] => (owner, name),
            _ => return refuse("it has the form name or owner/name"),
        };
        if path.len() > MAX_ID {
            return refuse("it is longer than 96 characters");
        }
        if !is_part(name) || (parts.len() == 2 && !is_part(owner)) {
            return refuse(
                "its parts hold letters, digits, `_`, `-` and `.` only, with no `-` or `.` first, last or twice in a row",
            );
        }
        if name.ends_with(".git") {
            return refuse("it ends in .git");
        }
        if revision.is_some_and(|revision| !is_revision(revision)) {
            return refuse("what follows @ is a branch, a tag or a commit");
        }
        Ok(Self { owner: owner.to_owned(), name: name.to_owned(), revision: revision.map(str::to_owned) })
    }
}

/// Whether this can be the owner or the name of a repository.
fn is_part(part: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let edge = |c: char| matches!(c, '-' | '.');
    !part.is_empty()
        && part.chars().all(known)
        && !part.starts_with(edge)
        && !part.ends_with(edge)
        && !part.contains("--")
        && !part.contains("..")
}

/// Whether git could have a branch or tag of this name. It becomes a path in the cache.
fn is_revision(revision: &str) -> bool {
    let odd =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '\\' | ':' | '?' | '*' | '[' | '~' | '^' | '@');
    revision.len() <= 255
        && !revision.contains(odd)
        && revision.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.'))
        && !revision.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_told_again() {
        for text in ["gpt2", "org/name", "Org-1/na_me.v2", "_o/n_", "org/name@refs/pr/1", "org/name@v1.0", "a@b"] {
            let id: RepoId = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(id.to_string(), text);
        }
        let long = format!("o/{}", "n".repeat(MAX_ID));
        for text in [
            "", "/", "a/", "/a", "a/b/c", "a b", "a/b c", ".a", "a.", "-a", "a-", "a--b", "a..b", "a.git", "ä", "a\\b",
            "a:b", "a@", "a@b c", "a@../b", "a@/b", "a@b/", "a@b//c", "a@.b", "a@b@c", &long,
        ] {
            let error = text.parse::<RepoId>().expect_err(text);
            assert!(matches!(error, Error::Config { .. }), "{text}: {error}");
        }
    }
}
