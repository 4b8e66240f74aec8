//! MODEL arguments.

use std::path::{Path, PathBuf};

use bitsmith::{Error, Result};

/// A model that was typed.
#[derive(Clone, Debug)]
pub(super) struct ModelPath(PathBuf);

impl ModelPath {
    /// The path, once it is clear that there is something.
    pub(super) fn existing(&self) -> Result<&Path> {
        if self.0.exists() {
            return Ok(&self.0);
        }
        let detail = "there is no such folder or file; MODEL is a folder on this machine, models are not downloaded";
        Err(Error::format(&self.0, detail))
    }
}

impl From<std::ffi::OsString> for ModelPath {
    fn from(text: std::ffi::OsString) -> Self {
        Self(text.into())
    }
}
