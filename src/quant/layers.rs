//! Which tensors of a checkpoint are linear layers to quantize, and which are kept.

use serde_json::Value;

use crate::error::Result;
use crate::io::{Checkpoint, is_conv1d};
use crate::scheme::SkipList;

/// A linear layer of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearLayer {
    /// Module path: the tensor's name without `.weight`.
    pub path: String,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// Whether it is left as it is.
    pub kept: bool,
    /// Whether its weight is stored `[in, out]`.
    pub conv1d: bool,
}

/// What is kept: the output head and embeddings unless asked otherwise, and what the user names.
#[derive(Clone, Debug)]
pub struct Skip {
    user: SkipList,
}

/// Module names that hold an embedding or the output head, or lead from one or to the other, in the usual model families.
const KEPT: [&str; 12] = [
    "lm_head",
    "embed_tokens",
    "embed_positions",
    "wte",
    "wpe",
    "embeddings",
    "word_embeddings",
    "shared",
    "embed_out",
    "project_in",
    "project_out",
    "relative_attention_bias",
];

/// The ends of paths that hold an output head under names too common to be kept everywhere.
const KEPT_ENDS: [&str; 1] = ["predictions.decoder"];

impl Skip {
    /// The default and these patterns.
    pub fn new(patterns: &[String]) -> Result<Self> {
        Ok(Self { user: SkipList::new(patterns)? })
    }

    fn keeps(&mut self, path: &str) -> bool {
        let named = self.user.matches(path);
        let head = KEPT_ENDS.iter().any(|end| path.ends_with(end));
        named || head || path.split('.').any(|part| KEPT.contains(&part) || part.contains("norm"))
    }

    /// Patterns that matched no layer.
    pub fn unmatched(&self) -> Vec<&str> {
        self.user.unmatched()
    }
}

/// The linear layers of a checkpoint, in its order: every floating-point matrix named `.weight`. `config` is the whole
/// `config.json`.
pub fn linear_layers(checkpoint: &Checkpoint, config: &Value, skip: &mut Skip) -> Vec<LinearLayer> {
    let mut layers = Vec::new();
    for info in checkpoint.infos() {
        let (Some(path), [rows, cols]) = (info.name.strip_suffix(".weight"), &info.shape[..]) else { continue };
        if info.dtype.plain().dtype().is_some() {
            let conv1d = is_conv1d(config, path);
            let (rows, cols) = if conv1d { (*cols, *rows) } else { (*rows, *cols) };
            layers.push(LinearLayer { path: path.to_owned(), rows, cols, kept: skip.keeps(path), conv1d });
        }
    }
    layers
}
