//! The index of a checkpoint that is split over several files.

use std::path::{Component, Path};

use serde::Deserialize;

use super::file::read_limited;
use super::header::MAX_HEADER_BYTES;
use super::json::Members;
use crate::error::{Error, Result};

/// The file name under which the weights of a checkpoint in one piece are found.
pub const SINGLE_FILE: &str = "model.safetensors";

/// The file name under which the index of a split checkpoint is found.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// Which file holds which tensor.
#[derive(Clone, Debug)]
pub struct Index {
    /// Tensor name and file name, in the order of the index.
    pub weight_map: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Stored {
    weight_map: Members<String>,
}

impl Index {
    /// Reads and checks the index in a file.
    ///
    /// # Errors
    /// Those of [`Self::parse`]; [`Error::Io`] if it cannot be read, [`Error::Limit`] if it is larger than any index.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &read_limited(path, MAX_HEADER_BYTES)?)
    }

    /// Reads and checks the text of an index; `path` serves the messages only.
    ///
    /// # Errors
    /// [`Error::Format`] for text that is no index, a tensor listed twice, or a file outside the folder.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|e| Error::format(path, e.to_string()))?;
        let weight_map = stored.weight_map.0;
        for (tensor, file) in &weight_map {
            let mut parts = Path::new(file).components().peekable();
            if parts.peek().is_none() || !parts.all(|part| matches!(part, Component::Normal(_))) {
                let detail = format!("`weight_map`: tensor `{tensor}` is in {file:?}, which is no file of this folder");
                return Err(Error::format(path, detail));
            }
        }
        if weight_map.is_empty() {
            return Err(Error::format(path, "`weight_map` lists no tensor"));
        }
        Ok(Self { weight_map })
    }

    /// The names of the files, sorted, each once.
    pub fn files(&self) -> Vec<&str> {
        let mut files: Vec<&str> = self.weight_map.iter().map(|(_, file)| file.as_str()).collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}
