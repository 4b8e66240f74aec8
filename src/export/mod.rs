//! File formats: how the parts of a quantized layer are named, laid out and described so that other programs
//! read them, and how files of those formats come back.
//!
//! A format is an [`Exporter`] and, where files of it can be read, an [`Importer`]. Both work on one layer at a
//! time and never touch a file: the names, types and shapes of all tensors are known before any work is done, so
//! a header can be written first and the layers streamed after it.

pub mod awq;
pub mod bitnet;
pub mod bitsandbytes;
pub mod compressed_tensors;
mod container;
pub mod gguf;
pub mod gptq;
mod layer_tensors;
pub mod mlx;
pub mod onnx;
mod record;
mod search_record;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

pub use container::{Container, Folder, Opened, WholeModel};
pub use record::{BlockRecord, Calibration, LayerRecord, Method, Observed, Quality, Record, Sizes, Spread};
pub use search_record::{
    CodesFrom, HeldOut, ImportanceRecord, SearchGoal, SearchMemory, SearchPhase, SearchQuality, SearchRecord,
    SearchStep, SearchedLayer,
};
use serde_json::Value;

use self::layer_tensors::conv1d_as_linear;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::{Checkpoint, TensorSpec};
use crate::op::LayerInput;
use crate::pack::PackedTensor;
use crate::scheme::Scheme;
use crate::tensor::Tensor;

/// A linear layer and how it is quantized.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// Module path, such as `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// What its codes mean.
    pub scheme: Scheme,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// What its input becomes.
    pub input: LayerInput,
}

impl LayerSpec {
    /// The layer at `path` that has this weight and takes its input as it is.
    pub fn of(path: &str, weight: &PackedTensor) -> Self {
        let input = LayerInput::Exact;
        Self { path: path.to_owned(), scheme: weight.scheme, rows: weight.rows, cols: weight.cols, input }
    }

    /// The layer with another input.
    #[must_use]
    pub fn with_input(self, input: LayerInput) -> Self {
        Self { input, ..self }
    }

    /// An error where a format refuses the layer.
    fn refuse(&self, exporter: &dyn Exporter) -> Result<()> {
        match exporter.fit(self) {
            Fit::Refused(remedy) => {
                let what = format!("{} as {} in {}", self.path, self.scheme, exporter.name());
                Err(Error::Unsupported { what, remedy })
            }
            Fit::Exact | Fit::Rounded(_) | Fit::OwnReader(_) => Ok(()),
        }
    }

    /// An error unless `weight` is one of this layer.
    fn check(&self, weight: &PackedTensor) -> Result<()> {
        let Self { path, scheme, rows, cols, .. } = self;
        if (*scheme, *rows, *cols) == (weight.scheme, weight.rows, weight.cols) {
            return Ok(());
        }
        let found = format!("{} of {} x {}", weight.scheme, weight.rows, weight.cols);
        Err(Error::Shape { op: "export", expected: format!("{path} as {scheme} of {rows} x {cols}"), found })
    }
}

/// How well a format takes a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Other readers of the format load it.
    Exact,
    /// Other readers load it, but not with the same numbers to the last bit, for this reason.
    Rounded(String),
    /// It is written in the format's terms, but other readers do not take it by default, for this reason.
    OwnReader(String),
    /// It cannot be written, for this reason.
    Refused(String),
}

/// What a reader of this crate makes of a layer that a format holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReadBack {
    /// Its codes: a quantized layer.
    Codes,
    /// A weight in floating point, at most so far from what the codes meant, relative to all of it.
    Values(f32),
}

/// Writes quantized layers in one format.
pub trait Exporter: Send + Sync {
    /// Name on the command line.
    fn name(&self) -> &'static str;

    /// Whether the format has room for the layer, and who reads it then.
    fn fit(&self, layer: &LayerSpec) -> Fit;

    /// [`Self::fit`] of a layer that its model's own code keeps as a Conv1D, with a weight `[in, out]`; `layer` has the
    /// shape `[out, in]`, in which it is quantized and written.
    fn fit_conv1d(&self, layer: &LayerSpec) -> Fit {
        conv1d_as_linear(self.fit(layer))
    }

    /// The tensors that [`Self::encode`] makes of the layer, in its order, in a model of `model_dtype`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where [`Self::fit`] refuses.
    fn tensors(&self, layer: &LayerSpec, model_dtype: Dtype) -> Result<Vec<TensorSpec>>;

    /// Name and bytes of each tensor of a layer.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where [`Self::fit`] refuses, [`Error::Shape`] if the parts of the weight do not fit
    /// together or are not those of the layer.
    fn encode(&self, layer: &LayerSpec, weight: &PackedTensor, model_dtype: Dtype) -> Result<Vec<(String, Vec<u8>)>>;

    /// The `quantization_config` of a model with these layers. `kept` names every other linear layer.
    ///
    /// # Errors
    /// [`Error::Config`] if there is none or one is also kept, [`Error::Unsupported`] where [`Self::fit`] refuses.
    fn config(&self, layers: &[LayerSpec], kept: &[String]) -> Result<Value>;

    /// Adds that configuration to the config.json of the model.
    fn describe(&self, config: &mut Value, quantization: Value) {
        config["quantization_config"] = quantization;
    }

    /// What the input of the layer becomes for readers of the format.
    fn input(&self, layer: &LayerSpec) -> LayerInput {
        layer.input.clone()
    }

    /// How far a scale may be from what it was after it is written and read, relative to it.
    fn scale_error(&self) -> f32 {
        0.0
    }

    /// What a reader of this crate makes of the layer.
    fn read_back(&self, _layer: &LayerSpec) -> ReadBack {
        ReadBack::Codes
    }

    /// The weight of a layer in the codes that a reader finds: a format may hold fewer bits in wider codes.
    ///
    /// # Errors
    /// [`Error::Shape`] if the parts of the weight do not fit together.
    fn as_read(&self, _layer: &LayerSpec, weight: PackedTensor) -> Result<PackedTensor> {
        Ok(weight)
    }

    /// The name of the one file that holds a whole model, for a format that has such a file.
    fn whole_file(&self) -> Option<&'static str> {
        None
    }

    /// Whether what is written is a model that can be opened here.
    fn is_model(&self) -> bool {
        true
    }

    /// Whether it is made of a finished folder in the default format.
    fn is_converted(&self) -> bool {
        self.whole_file().is_some() || !self.is_model()
    }

    /// The files of a whole model.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a model that the format cannot hold, and those of reading what stands beside the weights.
    fn container(&self, model: &WholeModel<'_>) -> Result<Box<dyn Container>> {
        Ok(Box::new(Folder::new(model)))
    }

    /// A reader of the format that fuses query, key and value, and gate and up, which must then have one scheme.
    fn fused_by(&self) -> Option<&'static str> {
        None
    }

    /// What a user should know of the layers as they are written, one a line.
    fn notes(&self, _layers: &[LayerSpec]) -> Vec<String> {
        Vec::new()
    }
}

/// The exporter of a name for the model with this config.json: a format may know only some families, or order rows by it.
///
/// # Errors
/// As [`exporter`]; [`Error::Unsupported`] for a model that the format cannot hold.
pub fn exporter_for(name: &str, config: &Value) -> Result<Box<dyn Exporter>> {
    match name {
        gguf::NAME | gguf::NARROW => Ok(Box::new(gguf::Gguf::of(config)?.named(name))),
        _ => exporter(name),
    }
}

/// The exporter of a name.
///
/// ```
/// assert_eq!(bitsmith::export::exporter("compressed-tensors")?.name(), "compressed-tensors");
/// assert!(bitsmith::export::exporter("zip").is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for a name that is not in [`FORMATS`].
pub fn exporter(name: &str) -> Result<Box<dyn Exporter>> {
    match name {
        awq::NAME => Ok(Box::new(awq::Awq)),
        bitnet::NAME => Ok(Box::new(bitnet::Bitnet)),
        bitsandbytes::NAME => Ok(Box::new(bitsandbytes::BitsAndBytes)),
        compressed_tensors::NAME => Ok(Box::new(compressed_tensors::CompressedTensors)),
        gguf::NAME | gguf::NARROW => Ok(Box::new(gguf::Gguf::default().named(name))),
        gptq::NAME => Ok(Box::new(gptq::Gptq::Gptq)),
        gptq::AUTO_ROUND => Ok(Box::new(gptq::Gptq::AutoRound)),
        mlx::NAME => Ok(Box::new(mlx::Mlx)),
        onnx::NAME => Ok(Box::new(onnx::Onnx)),
        _ => Err(Error::config("format", format!("`{name}` is not one of {}", FORMATS.join(", ")))),
    }
}

/// Names of all formats, the default one first.
pub const FORMATS: [&str; 10] = [
    compressed_tensors::NAME,
    gguf::NAME,
    gguf::NARROW,
    gptq::NAME,
    awq::NAME,
    gptq::AUTO_ROUND,
    mlx::NAME,
    bitsandbytes::NAME,
    bitnet::NAME,
    onnx::NAME,
];

/// A tensor of a file as it lies there.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<'a> {
    /// Element type as safetensors writes it.
    pub dtype: &'a str,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Row-major little-endian elements.
    pub bytes: &'a [u8],
}

/// Where an importer finds tensors: a checkpoint, or a map in a test.
pub trait TensorSource {
    /// Names of all tensors.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;

    /// The tensor of a name, if there is one.
    ///
    /// # Errors
    /// Those of reading the file.
    fn find(&self, name: &str) -> Result<Option<Stored<'_>>>;

    /// The file that holds a tensor, if tensors are in files.
    fn path_of(&self, name: &str) -> Option<&Path> {
        let _ = name;
        None
    }
}

/// The file that holds the first tensor of a layer.
pub(crate) fn file_of<'a>(source: &'a dyn TensorSource, layer: &str) -> Option<&'a Path> {
    let of_layer = |name: &&str| name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'));
    source.names().find(of_layer).and_then(|name| source.path_of(name))
}

/// A quantized layer or embedding that is read as floating-point numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedLayer {
    /// What the file says of it. The zero points of its scheme may be no whole numbers.
    pub layer: LayerSpec,
    /// Why its codes are of no use here.
    pub reason: &'static str,
}

impl DecodedLayer {
    /// One line for each reason.
    pub fn notes(decoded: &[Self]) -> Vec<String> {
        let mut counts = BTreeMap::<&str, usize>::new();
        decoded.iter().for_each(|decoded| *counts.entry(decoded.reason).or_default() += 1);
        let line = |(reason, count)| format!("{count} quantized tensor(s) are read in floating point: {reason}");
        counts.into_iter().map(line).collect()
    }
}

/// Reads the quantized layers of one model.
pub trait Importer: Debug + Send + Sync {
    /// Name of the format.
    fn name(&self) -> &'static str;

    /// All quantized layers whose codes can be computed with, each checked against the configuration.
    ///
    /// # Errors
    /// [`Error::Format`] that names the layer and the tensor or field at fault, [`Error::Unsupported`] for what
    /// is valid but cannot be used here.
    fn layers(&self, source: &dyn TensorSource) -> Result<Vec<LayerSpec>>;

    /// The weight of the layer at `path`.
    ///
    /// # Errors
    /// As [`Self::layers`], and for scales that are not finite.
    fn decode(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor>;

    /// The quantized tensors beside those: [`Self::values`] has their numbers.
    ///
    /// # Errors
    /// As [`Self::layers`].
    fn decoded(&self, source: &dyn TensorSource) -> Result<Vec<DecodedLayer>> {
        let _ = source;
        Ok(Vec::new())
    }

    /// The numbers `[rows, cols]` that the codes of the layer at `path` stand for, f32.
    ///
    /// # Errors
    /// As [`Self::decode`].
    fn values(&self, path: &str, source: &dyn TensorSource) -> Result<Tensor<'static>> {
        let weight = self.decode(path, source)?.unpack()?;
        Tensor::from_f32(vec![weight.rows(), weight.cols()], &weight.dequantize())
    }
}

/// The reader for a model's `quantization_config`; errors name `folder`, where the model lies.
///
/// # Errors
/// [`Error::Unsupported`] for a `quant_method` that cannot be read, [`Error::Format`] for a malformed
/// configuration.
pub fn importer(config: &Value, folder: &Path) -> Result<Box<dyn Importer>> {
    let file = folder.join("config.json");
    let readable: Vec<_> = FORMATS.into_iter().filter(|name| ![gguf::NARROW, onnx::NAME].contains(name)).collect();
    match config.get("quant_method").and_then(Value::as_str) {
        Some(awq::NAME) => Ok(Box::new(awq::Reader::new(config, folder)?)),
        Some(bitsandbytes::NAME) => Ok(Box::new(bitsandbytes::Reader::new(config, folder)?)),
        Some(gptq::NAME | gptq::AUTO_ROUND) => Ok(Box::new(gptq::Reader::new(config, folder)?)),
        Some(bitnet::NAME) => Ok(Box::new(bitnet::Reader::new(config, folder)?)),
        Some(gguf::NAME) => Ok(Box::new(gguf::Reader::new(config, folder)?)),
        Some(compressed_tensors::NAME) => Ok(Box::new(compressed_tensors::Reader::new(config, folder)?)),
        Some(other) => Err(Error::Unsupported {
            what: format!("{}: quantization_config.quant_method `{other}`", file.display()),
            remedy: format!("models of these formats can be read: {}", readable.join(", ")),
        }),
        // MLX names no method.
        None if config.get("bits").is_some() => Ok(Box::new(mlx::Reader::new(config, folder)?)),
        None => Err(Error::format(file, "quantization_config.quant_method is missing or not a string")),
    }
}

impl TensorSource for Checkpoint {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(Self::names(self))
    }

    fn find(&self, name: &str) -> Result<Option<Stored<'_>>> {
        if !self.contains(name) {
            return Ok(None);
        }
        let raw = self.raw(name)?;
        Ok(Some(Stored { dtype: raw.dtype.name(), shape: raw.shape.to_vec(), bytes: raw.bytes }))
    }

    fn path_of(&self, name: &str) -> Option<&Path> {
        Self::path_of(self, name)
    }
}
