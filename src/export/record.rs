//! `bitsmith.json`: what was done to a model and what it cost, beside the checkpoint. Nothing that decoding
//! needs is in it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::search_record::SearchRecord;
use crate::error::{Error, Result};
use crate::io::{Digest, TextFacts, read_limited};
use crate::op::LayerInput;
use crate::scheme::{Plan, Scheme};

/// Larger files are refused unread: a model of ten thousand layers makes about 3 MB.
const MAX_BYTES: u64 = 64 << 20;

/// The content of `bitsmith.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this crate that made the model.
    pub bitsmith: String,
    /// How the codes were chosen.
    pub method: Method,
    /// Name of the original model.
    pub model: String,
    /// What it learned from, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// The quantized layers, in the model's order.
    pub layers: Vec<LayerRecord>,
    /// The blocks, for a method that works by blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<BlockRecord>,
    /// The search that decided on schemes, for a method that searches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchRecord>,
    /// Names of the tensors that were left as they were.
    pub kept: Vec<String>,
    /// Size before and after.
    pub sizes: Sizes,
    /// What it did to the model's predictions, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
}

/// A quantization method and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// Name on the command line.
    pub name: String,
    /// The method's own settings.
    pub settings: Value,
}

/// A quantized layer and the error of its weight against the original.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Module path.
    pub path: String,
    /// Output and input features.
    pub shape: [usize; 2],
    /// What its codes mean.
    pub scheme: Scheme,
    /// What its input becomes.
    #[serde(default, skip_serializing_if = "LayerInput::is_exact")]
    pub input: LayerInput,
    /// What was seen of it before, if the method looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// Mean squared error.
    pub mse: f64,
    /// Signal to noise in decibels; none when there is no noise or no signal.
    pub sqnr_db: Option<f64>,
    /// Cosine of the angle to the original; none when one of the two is zero.
    pub cosine: Option<f64>,
    /// Bytes in the file: codes, scales, zero points.
    pub bytes: u64,
}

/// What was seen of a layer when the original model read a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// What went into it.
    pub input: Spread,
    /// What it gave.
    pub output: Spread,
}

/// Where values lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// 1 for a mean of zero, less the further it is away: `exp(-|mean| / (deviation + epsilon))`.
    pub symmetry: f64,
}

/// The data of a method that learns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// Sequences.
    pub samples: usize,
    /// Tokens of each.
    pub seq_len: usize,
    /// Of all tokens.
    pub digest: Digest,
    /// The text that they come from, if it was one.
    #[serde(flatten)]
    pub text: Option<TextFacts>,
}

/// A block that went through a method as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockRecord {
    /// Which one, from 0.
    pub index: usize,
    /// Mean squared error of its output before the method did its work; none if the method does not know, or if it is
    /// no number.
    pub loss_before: Option<f64>,
    /// The same with the codes; none if it is no number.
    pub loss_after: Option<f64>,
    /// The iteration whose parameters were kept, where there are iterations.
    pub best_iteration: Option<u32>,
    /// Wall time.
    pub seconds: f64,
}

/// Bytes of all tensors, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sizes {
    /// Before.
    pub original_bytes: u64,
    /// After, kept tensors included.
    pub quantized_bytes: u64,
    /// Bits per weight of the quantized layers, scales and zero points counted.
    pub bits_per_weight: f64,
}

/// Effect on predictions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Perplexity of the original.
    pub perplexity_before: f64,
    /// Perplexity of the quantized model over the same text.
    pub perplexity_after: f64,
    /// Statistics of KL(original || quantized) per token, in nats.
    #[serde(default)]
    pub kl: Value,
}

impl Record {
    /// Name of the file.
    pub const FILE: &'static str = "bitsmith.json";

    /// Reads and checks the record of the model in `folder`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Limit`] if it is over 64 MiB, [`Error::Format`] for a missing or
    /// unusable field.
    pub fn read(folder: &Path) -> Result<Self> {
        let file = folder.join(Self::FILE);
        Self::parse(&file, &read_limited(&file, MAX_BYTES)?)
    }

    /// As [`Self::read`], from the text of a record; `path` serves the messages only.
    ///
    /// # Errors
    /// [`Error::Format`] for a missing or unusable field.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let record: Self = serde_json::from_slice(bytes).map_err(|e| Error::format(path, e.to_string()))?;
        record.check().map_err(|detail| Error::format(path, detail))?;
        Ok(record)
    }

    /// Checks the record and writes it into `folder`.
    ///
    /// # Errors
    /// [`Error::Format`] for a value that is not finite or out of its range, [`Error::Io`] if it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let file = folder.join(Self::FILE);
        self.check().map_err(|detail| Error::format(&file, detail))?;
        let mut text = serde_json::to_string_pretty(self).map_err(|e| Error::format(&file, e.to_string()))?;
        text.push('\n');
        fs::write(&file, text).map_err(|e| Error::io(&file, e))
    }

    /// The scheme of each quantized layer, for doing the same again.
    pub fn plan(&self) -> Plan {
        self.layers.iter().map(|layer| (layer.path.as_str(), layer.scheme)).collect()
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.bitsmith.is_empty() || self.method.name.is_empty() {
            return Err("bitsmith and method.name must not be empty".to_owned());
        }
        let mut paths = HashSet::new();
        for layer in &self.layers {
            if !paths.insert(&layer.path) {
                return Err(format!("layers: {} is there twice", layer.path));
            }
            layer.check().map_err(|detail| format!("layers: {}: {detail}", layer.path))?;
        }
        for block in &self.blocks {
            block.check().map_err(|detail| format!("blocks: {}: {detail}", block.index))?;
        }
        if let Some(search) = &self.search {
            search.check().map_err(|detail| format!("search: {detail}"))?;
        }
        let bits = self.sizes.bits_per_weight;
        if !(0.0..=32.0).contains(&bits) {
            return Err(format!("sizes.bits_per_weight is {bits}, not between 0 and 32"));
        }
        let quality = self.quality.iter().flat_map(|quality| {
            [("perplexity_before", quality.perplexity_before), ("perplexity_after", quality.perplexity_after)]
        });
        match quality.into_iter().find(|(_, value)| !value.is_finite() || *value < 1.0) {
            Some((field, value)) => Err(format!("quality.{field} is {value}; a perplexity is finite and at least 1")),
            None => Ok(()),
        }
    }
}

impl LayerRecord {
    fn check(&self) -> std::result::Result<(), String> {
        /// Cosines are sums of rounded products.
        const SLACK: f64 = 1e-6;
        if self.shape.contains(&0) {
            return Err(format!("shape {:?} has no elements", self.shape));
        }
        let spreads = self.observed.iter().flat_map(|seen| [seen.input, seen.output]);
        if let Some(wrong) = spreads.flat_map(|s| [s.mean, s.deviation, s.symmetry]).find(|value| !value.is_finite()) {
            return Err(format!("observed: {wrong} is no number"));
        }
        if !self.mse.is_finite() || self.mse < 0.0 {
            return Err(format!("mse is {}", self.mse));
        }
        if let Some(sqnr) = self.sqnr_db.filter(|sqnr| !sqnr.is_finite()) {
            return Err(format!("sqnr_db is {sqnr}; leave it out"));
        }
        match self.cosine.filter(|cosine| !(-1.0 - SLACK..=1.0 + SLACK).contains(cosine)) {
            Some(cosine) => Err(format!("cosine is {cosine}")),
            None => Ok(()),
        }
    }
}

impl BlockRecord {
    fn check(&self) -> std::result::Result<(), String> {
        let named =
            [("loss_before", self.loss_before), ("loss_after", self.loss_after), ("seconds", Some(self.seconds))];
        let wrong = |value: &f64| !value.is_finite() || *value < 0.0;
        match named.into_iter().find_map(|(name, value)| Some((name, value.filter(wrong)?))) {
            Some((name, value)) => Err(format!("{name} is {value}, not a number from 0 up")),
            None => Ok(()),
        }
    }
}
