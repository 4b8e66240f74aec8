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
        last(&self.losses)
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
        write(folder, &text(self))
    }
}

/// What a training of a classifier was: the content of its `training.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassifierRecord {
    /// Version of this crate that trained the network.
    pub bitsmith: String,
    /// Name of the configuration or folder that it began from.
    pub model: String,
    /// Whether it began from weights that were drawn.
    pub from_scratch: bool,
    /// The settings, with the steps that the epochs were, and the layers as they were.
    pub settings: TrainConfig,
    /// How often each image was seen.
    pub epochs: u32,
    /// What the layers compute with.
    pub layers: String,
    /// Images that it learned.
    pub images: usize,
    /// Images that it is scored on.
    pub held_out: usize,
    /// Numbers of the network.
    pub parameters: usize,
    /// Mean loss of each step, in nats an image.
    pub losses: Vec<f64>,
    /// Share of the images held out that it gets right, if there are any.
    pub accuracy: Option<f64>,
    /// The same of the packed network, where one was made.
    pub deployed_accuracy: Option<f64>,
    /// Bytes of the packed weights.
    pub deployed_bytes: Option<usize>,
}

impl ClassifierRecord {
    /// Mean loss of the last steps, [`TrainRecord::LAST`] at most.
    pub fn last_loss(&self) -> Option<f64> {
        last(&self.losses)
    }

    /// As the file holds it.
    pub(super) fn text(&self) -> String {
        text(self)
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        write(folder, &self.text())
    }
}

fn last(losses: &[f64]) -> Option<f64> {
    let last = &losses[losses.len().saturating_sub(TrainRecord::LAST)..];
    (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64)
}

/// Losses are finite and keys are words, so that it can be written.
fn text(record: &impl Serialize) -> String {
    serde_json::to_string_pretty(record).unwrap_or_default() + "\n"
}

fn write(folder: &Path, text: &str) -> Result<()> {
    let path = folder.join(TrainRecord::FILE);
    std::fs::write(&path, text).map_err(|e| Error::io(&path, e))
}
