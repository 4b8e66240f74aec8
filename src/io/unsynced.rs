//! Files that the disk may not have yet.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A second handle of a file that somebody writes, to wait for the disk while they go on.
#[derive(Debug)]
pub struct Unsynced {
    path: PathBuf,
    file: File,
}

impl Unsynced {
    pub(super) fn new(path: &Path, file: &File) -> Result<Self> {
        let file = file.try_clone().map_err(|e| Error::io(path, e))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Waits until the disk has what was written before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io(&self.path, e))
    }
}
