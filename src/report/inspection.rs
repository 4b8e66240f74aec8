//! What a checkpoint holds, by its headers alone.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::number::{bytes, count};
use super::table::Table;
use super::visible::visible;
use crate::error::{Error, Result};
use crate::export::{self, LayerSpec};
use crate::io::{Checkpoint, TensorInfo, gguf_of, read_config};

/// The tensors of a checkpoint, the parts of a quantized layer taken together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Format of the quantized layers, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Layers and tensors, in the order of the files.
    pub entries: Vec<Entry>,
    /// Sums.
    pub totals: Totals,
    /// What a reader should know, one a line.
    pub notes: Vec<String>,
}

/// A quantized layer, or a tensor that is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Module path of a layer, full name of a tensor.
    pub name: String,
    /// Extent of each axis; of the weight, for a quantized layer.
    pub shape: Vec<usize>,
    /// Scheme of a quantized layer (`w4g128s`), element type of a tensor (`BF16`).
    pub scheme: String,
    /// What the input of a quantized layer becomes (`int8 by token`), if it does not stay as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Whether it is a quantized layer.
    pub quantized: bool,
    /// Bytes in the files.
    pub bytes: u64,
    /// Bits for each element, scales and zero points counted.
    pub bits_per_weight: f64,
}

/// Sums over a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Elements of all tensors.
    pub weights: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Bits for each element.
    pub bits_per_weight: f64,
    /// Elements of the quantized layers.
    pub quantized_weights: u64,
    /// Bytes of the quantized layers.
    pub quantized_bytes: u64,
    /// Bits for each element of the quantized layers.
    pub quantized_bits_per_weight: f64,
}

impl Inspection {
    /// Of a folder with safetensors files or a GGUF file, of a GGUF file, or of one safetensors file, whose tensors are
    /// listed as they are stored.
    ///
    /// # Errors
    /// Those of opening a [`Checkpoint`]; [`Error::Format`] for a quantized model whose parts do not fit together.
    ///
    /// ```
    /// let model = bitsmith::report::Inspection::read("examples/tiny-llama".as_ref())?;
    /// assert_eq!((model.totals.weights, model.totals.bits_per_weight), (853_120, 16.0));
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    pub fn read(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let (mut format, mut layers, mut notes) = (None, HashMap::new(), Vec::new());
        let found = quantization(path).and_then(|config| match config {
            Some(config) => quantized_layers(&config, path, &checkpoint).map(Some),
            None => Ok(None),
        });
        match found {
            Ok(Some((name, found, read))) => {
                (format, layers) = (Some(name), found);
                notes.extend(read);
            }
            Ok(None) => {}
            // The tensors can be listed all the same.
            Err(error @ Error::Unsupported { .. }) => notes.push(format!("listed as stored: {error}")),
            Err(error) => return Err(error),
        }
        let blocks = |info: &&TensorInfo| info.dtype.block().is_some() && layer_of(info, &layers).is_none();
        let decoded = checkpoint.infos().filter(blocks).count();
        if decoded > 0 {
            notes.push(format!(
                "{decoded} tensor(s) of blocks have no codes of bitsmith's; they are computed with in f32"
            ));
        }
        let entries = entries(&checkpoint, &layers);
        let totals = Totals::of(&entries);
        Ok(Self { format, entries, totals, notes })
    }
}

/// The `quantization_config` of a model folder.
fn quantization(path: &Path) -> Result<Option<Value>> {
    if gguf_of(path).is_none() && !path.join("config.json").exists() {
        return Ok(None);
    }
    Ok(read_config(path)?.get("quantization_config").filter(|config| !config.is_null()).cloned())
}

/// The name of the format, all quantized layers by path, and how some of them are read, one a line.
fn quantized_layers(
    config: &Value,
    path: &Path,
    checkpoint: &Checkpoint,
) -> Result<(String, HashMap<String, LayerSpec>, Vec<String>)> {
    let importer = export::importer(config, path)?;
    let decoded = importer.decoded(checkpoint)?;
    let notes = export::DecodedLayer::notes(&decoded);
    let layers = importer.layers(checkpoint)?.into_iter().chain(decoded.into_iter().map(|decoded| decoded.layer));
    Ok((importer.name().to_owned(), layers.map(|layer| (layer.path.clone(), layer)).collect(), notes))
}

/// The quantized layer that a tensor is part of: any but its bias.
fn layer_of<'a>(info: &TensorInfo, layers: &'a HashMap<String, LayerSpec>) -> Option<&'a LayerSpec> {
    let (path, part) = info.name.rsplit_once('.')?;
    layers.get(path).filter(|_| part != "bias")
}

fn entries(checkpoint: &Checkpoint, layers: &HashMap<String, LayerSpec>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for info in checkpoint.infos() {
        let bytes = info.bytes() as u64;
        let Some(layer) = layer_of(info, layers) else {
            entries.push(Entry::new(&info.name, info.shape.clone(), info.dtype.to_string(), false, bytes));
            continue;
        };
        match places.get(layer.path.as_str()) {
            Some(place) => entries[*place].add(bytes),
            None => {
                places.insert(&layer.path, entries.len());
                let shape = vec![layer.rows, layer.cols];
                let input = (!layer.input.is_exact()).then(|| layer.input.to_string());
                let entry = Entry::new(&layer.path, shape, layer.scheme.to_string(), true, bytes);
                entries.push(Entry { input, ..entry });
            }
        }
    }
    entries
}

impl Entry {
    fn new(name: &str, shape: Vec<usize>, scheme: String, quantized: bool, bytes: u64) -> Self {
        let mut entry =
            Self { name: name.to_owned(), shape, scheme, input: None, quantized, bytes: 0, bits_per_weight: 0.0 };
        entry.add(bytes);
        entry
    }

    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.bits_per_weight = bits(self.bytes, self.weights());
    }

    /// Number of elements.
    pub fn weights(&self) -> u64 {
        self.shape.iter().map(|extent| *extent as u64).product()
    }
}

impl Totals {
    fn of(entries: &[Entry]) -> Self {
        let sum = |entries: &[&Entry]| {
            entries.iter().fold((0, 0), |(weights, bytes), entry| (weights + entry.weights(), bytes + entry.bytes))
        };
        let (weights, bytes) = sum(&entries.iter().collect::<Vec<_>>());
        let (quantized_weights, quantized_bytes) =
            sum(&entries.iter().filter(|entry| entry.quantized).collect::<Vec<_>>());
        Self {
            weights,
            bytes,
            bits_per_weight: bits(bytes, weights),
            quantized_weights,
            quantized_bytes,
            quantized_bits_per_weight: bits(quantized_bytes, quantized_weights),
        }
    }
}

fn bits(bytes: u64, weights: u64) -> f64 {
    if weights == 0 { 0.0 } else { bytes as f64 * 8.0 / weights as f64 }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["name", ">shape", "scheme", ">bytes", ">bits"]);
        for entry in &self.entries {
            let shape = entry.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
            let (bytes, bits) = (count(entry.bytes), format!("{:.3}", entry.bits_per_weight));
            let input = entry.input.as_ref().map(|input| format!(", {input}")).unwrap_or_default();
            table.row([visible(&entry.name), shape, format!("{}{input}", entry.scheme), bytes, bits]);
        }
        write!(f, "{table}")?;
        let Totals { weights, bytes: all, bits_per_weight, .. } = self.totals;
        writeln!(f, "\nall        {} weights, {}, {bits_per_weight:.3} bits per weight", count(weights), bytes(all))?;
        if let Some(format) = &self.format {
            let Totals { quantized_weights, quantized_bytes, quantized_bits_per_weight: bits, .. } = self.totals;
            let (weights, bytes) = (count(quantized_weights), bytes(quantized_bytes));
            writeln!(f, "quantized  {weights} weights, {bytes}, {bits:.3} bits per weight ({format})")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
