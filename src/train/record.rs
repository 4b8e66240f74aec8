//! What a training was, beside the checkpoint that came of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::TrainConfig;
use crate::error::{Error, Result};
use crate::io::TextFacts;

/// The content of `training.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainRecord {
    /// Version of this crate that trained the model.
    pub bitsmith: String,
    /// Name of the model that it began from, or of the configuration.
    pub model: String,
    /// Whether it began from weights that were drawn.
    pub from_scratch: bool,
    /// The settings.
    pub settings: TrainConfig,
    /// What it read.
    #[serde(flatten)]
    pub text: TextFacts,
    /// Tokens of a sequence.
    pub seq_len: usize,
    /// Numbers that trained.
    pub parameters: usize,
    /// Tokens predicted, those seen several times counted each time.
    pub tokens: u64,
    /// Mean loss of each step, in nats a token.
    pub losses: Vec<f64>,
}

impl TrainRecord {
    /// Name of the file.
    pub const FILE: &'static str = "training.json";

    /// Steps that the mean of the last losses is over, at most.
    pub const LAST: usize = 50;

    /// Mean loss of the last steps.
    pub fn last_loss(&self) -> Option<f64> {
        let last = &self.losses[self.losses.len().saturating_sub(Self::LAST)..];
        (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64)
    }

    /// Reads the file of a folder.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Format`] for one that is malformed.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        serde_json::from_str(&text).map_err(|e| Error::format(&path, e.to_string()))
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(Self::FILE);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::format(&path, e.to_string()))?;
        std::fs::write(&path, text + "\n").map_err(|e| Error::io(&path, e))
    }
}
