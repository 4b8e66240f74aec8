//! The hub's cache on disk, as all its clients lay it out, so that what one has fetched another finds:
//! `models--org--name/blobs/HASH` holds a file, `snapshots/COMMIT/NAME` is a link to it, `refs/REVISION` names a commit.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::{RepoId, Wanted};
use crate::error::{Error, Result};

/// The part of the cache that belongs to one repository.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    root: PathBuf,
    /// Name of the repository's folder in it.
    name: String,
}

impl Cache {
    /// Of a repository, in the cache folder `root`. Nothing is made on disk.
    pub(super) fn new(root: PathBuf, wanted: Wanted, id: &RepoId) -> Self {
        let kind = match wanted {
            Wanted::Model => "models",
            Wanted::DatasetFile(_) => "datasets",
        };
        Self { root, name: format!("{kind}--{}", id.path().replace('/', "--")) }
    }

    /// The cache folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn repository(&self) -> PathBuf {
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

    fn reference(&self, revision: &str) -> PathBuf {
        self.repository().join("refs").join(revision)
    }
}

#[cfg(feature = "hub")]
impl Cache {
    /// The folder of the contents.
    pub(super) fn blobs(&self) -> PathBuf {
        self.repository().join("blobs")
    }

    /// The file that a download of this content locks.
    pub(super) fn lock(&self, hash: &str) -> PathBuf {
        self.root.join(".locks").join(&self.name).join(format!("{hash}.lock"))
    }

    /// Gives a content its name in a commit, whoever does the same at this time.
    pub(super) fn link(&self, hash: &str, commit: &str, file: &str) -> Result<()> {
        let link = self.snapshot(commit).join(file);
        let folder = make_parent(&link)?;
        let up = "../".repeat(2 + file.matches('/').count());
        let (blob, relative) = (self.blobs().join(hash), format!("{up}blobs/{hash}"));
        let made = tempfile::Builder::new().make_in(folder, |path| place(&blob, &relative, path));
        let made = made.map_err(|e| Error::io(folder, e))?;
        made.into_temp_path().persist(&link).map_err(|e| Error::io(&link, e.error))
    }

    /// Notes which commit a revision is.
    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) {
            return Ok(());
        }
        let path = self.reference(revision);
        make_parent(&path)?;
        fs::write(&path, commit).map_err(|e| Error::io(&path, e))
    }
}

/// The folder that is to hold `path`, made where it is not there.
#[cfg(feature = "hub")]
pub(super) fn make_parent(path: &Path) -> Result<&Path> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    Ok(folder)
}

/// A relative link, so that the cache may be moved.
#[cfg(all(feature = "hub", unix))]
fn place(_: &Path, relative: &str, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(relative, link)
}

/// Symbolic links need a privilege here; a second name for the same file does not.
#[cfg(all(feature = "hub", not(unix)))]
fn place(blob: &Path, _: &str, link: &Path) -> std::io::Result<()> {
    fs::hard_link(blob, link).or_else(|_| fs::copy(blob, link).map(drop))
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
