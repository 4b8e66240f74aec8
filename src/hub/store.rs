//! Writing to the cache.

use std::fs;
use std::path::{Path, PathBuf};

use super::cache::{Cache, is_commit};
use crate::error::{Error, Result};

impl Cache {
    /// The folder of the contents.
    pub(super) fn blobs(&self) -> PathBuf {
        self.repository().join("blobs")
    }

    /// The file that a download of this content locks.
    pub(super) fn lock(&self, hash: &str) -> PathBuf {
        self.root().join(".locks").join(&self.name).join(format!("{hash}.lock"))
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
pub(super) fn make_parent(path: &Path) -> Result<&Path> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    Ok(folder)
}

/// A relative link, so that the cache may be moved.
#[cfg(unix)]
fn place(_: &Path, relative: &str, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(relative, link)
}

/// Symbolic links need a privilege here; a second name for the same file does not.
#[cfg(not(unix))]
fn place(blob: &Path, _: &str, link: &Path) -> std::io::Result<()> {
    fs::hard_link(blob, link).or_else(|_| fs::copy(blob, link).map(drop))
}
