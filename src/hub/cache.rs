//! The hub's cache on disk, as all its clients lay it out, so that what one has fetched another finds:
//! `models--org--name/blobs/HASH` holds a file, `snapshots/COMMIT/NAME` is a link to it, `refs/REVISION` names a commit.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::{RepoId, Wanted};

/// The part of the cache that belongs to one repository.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    root: PathBuf,
    /// Name of the repository's folder in it.
    pub(super) name: String,
}

impl Cache {
    /// Of a repository, in the cache folder `root`. Nothing is made on disk.
    pub(super) fn new(root: PathBuf, wanted: Wanted<'_>, id: &RepoId) -> Self {
        Self { root, name: format!("{}s--{}", wanted.kind(), id.path().replace('/', "--")) }
    }

    /// The cache folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The repository's folder in it.
    pub(super) fn repository(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// The commit that a revision was when it was fetched last.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.reference(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The folder with the files of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repository().join("snapshots").join(commit)
    }

    /// The file that names the commit of a revision.
    pub(super) fn reference(&self, revision: &str) -> PathBuf {
        self.repository().join("refs").join(revision)
    }
}

/// Whether this is the full name of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The cache folder that the environment names: `HF_HUB_CACHE`, `HF_HOME/hub`, or the usual one in the home folder.
pub(super) fn default_root() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    set("HF_HUB_CACHE")
        .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(".cache/huggingface/hub"))
}
