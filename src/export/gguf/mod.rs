//! GGUF, the one file of llama.cpp: settings, tokenizer and all tensors. Each layer gets the type that holds its codes:
//!
//! | scheme | type | |
//! | --- | --- | --- |
//! | 4 or 3 bits, symmetric | `Q4_0` | exact |
//! | 4 or 3 bits with zero points | `Q4_1` | zero points become minima in f16 |
//! | 8 bits, symmetric | `Q8_0` | exact |
//! | three levels | `TQ2_0`, or `TQ1_0` by the name `gguf-tq1_0`, where blocks of 256 fit, else `Q4_0` | exact |
//! | 2 bits | `Q2_K`, where blocks of 256 fit, else `Q4_0` or `Q4_1` | `Q2_K` is requantised |
//! | anything else | `F16` | its weights, rounded |
//!
//! Blocks lie within a row and within a group; a scale that is not f16 is rounded to it. Tensors that are kept keep their
//! type, but those of one axis become f32, as readers want them.

mod container;
mod encode;
mod metadata;
mod reader;
mod requantise;
mod tokenizer;
mod types;

use serde_json::{Value, json};

pub use self::reader::Reader;
use self::types::Choice;
use super::layer_tensors::{F16_ERROR, ordered, tensor_name};
use super::{Container, Exporter, Fit, LayerSpec, ReadBack, WholeModel};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::{Family, GGUF_FILE, GgufArchitecture, ModelConfig, StoredDtype, TensorSpec};
use crate::op::LayerInput;
use crate::pack::PackedTensor;

/// The name of the format on the command line.
pub const NAME: &str = "gguf";
/// The same with layers of three levels in base 3: 1.69 bits a weight instead of 2.06, and more work for who reads them.
pub const NARROW: &str = "gguf-tq1_0";

/// The one tensor of a layer.
const WEIGHT: &str = "weight";

/// The exporter, of any model or of one whose configuration is known.
///
/// ```
/// use bitsmith::export::{Exporter, Fit, LayerSpec, gguf::Gguf};
/// let layer = |scheme: &str| Ok(LayerSpec {
///     path: "model.layers.0.mlp.up_proj".into(), scheme: scheme.parse()?, rows: 64, cols: 96, input: Default::default(),
/// });
/// assert_eq!(Gguf::default().fit(&layer("w4g32s")?), Fit::Exact);
/// assert!(matches!(Gguf::default().fit(&layer("w4g32a")?), Fit::Rounded(_)));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gguf {
    model: Option<Model>,
    /// The type of layers of three levels.
    ternary: StoredDtype,
}

impl Default for Gguf {
    fn default() -> Self {
        Self { model: None, ternary: StoredDtype::TQ2_0 }
    }
}

/// What of a model decides how its tensors are written.
#[derive(Clone, Copy, Debug)]
struct Model {
    architecture: GgufArchitecture,
    heads: usize,
    kv_heads: usize,
}

impl Gguf {
    /// For the model with this config.json.
    ///
    /// # Errors
    /// Those of [`ModelConfig::from_value`]; [`Error::Unsupported`] for a model that llama.cpp has no architecture for, or
    /// computes otherwise.
    pub fn of(config: &Value) -> Result<Self> {
        let config = ModelConfig::from_value(crate::io::CONFIG_FILE.as_ref(), config)?;
        let architecture = metadata::architecture(&config)?;
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        Ok(Self { model: Some(Model { architecture, heads, kv_heads }), ..Self::default() })
    }

    /// The same exporter under one of its two names, [`NAME`] and [`NARROW`].
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let ternary = if name == NARROW { StoredDtype::TQ1_0 } else { StoredDtype::TQ2_0 };
        Self { ternary, ..self }
    }

    fn choice(&self, layer: &LayerSpec) -> Choice {
        Choice::of(layer, self.ternary)
    }

    /// Whether readers round what goes into layers, as the model was trained for.
    fn rounds_inputs(&self) -> bool {
        self.model.is_some_and(|model| model.architecture == GgufArchitecture::Bitnet)
    }
}

impl Model {
    /// The heads that share the rows of a tensor, named as in the family's files, where rotary pairs are to be beside each
    /// other.
    fn heads_of(&self, name: &str) -> Option<usize> {
        let keys = self.architecture.is_rotated(&self.architecture.file_name(name)?)?;
        Some(if keys { self.kv_heads } else { self.heads })
    }
}

impl Exporter for Gguf {
    fn name(&self) -> &'static str {
        if self.ternary == StoredDtype::TQ1_0 { NARROW } else { NAME }
    }

    fn fit(&self, layer: &LayerSpec) -> Fit {
        let &LayerSpec { rows, cols, .. } = layer;
        if rows == 0 || cols == 0 {
            return Fit::Refused(format!("a weight of shape [{rows}, {cols}] has no elements"));
        }
        if let Some(refused) = ordered(&layer.input) {
            return refused;
        }
        if layer.input != LayerInput::Exact && !(self.rounds_inputs() && layer.input == LayerInput::Tokens) {
            return Fit::Refused("readers compute with exact activations; use --activations none".to_owned());
        }
        if let Some(model) = &self.model
            && model.architecture.file_name(&tensor_name(&layer.path, WEIGHT)).is_none()
        {
            return Fit::Refused(format!("the architecture {} has no such layer", model.architecture.name()));
        }
        self.choice(layer).fit
    }

    /// Readers have no Conv1D: every weight is stored `[out, in]`.
    fn fit_conv1d(&self, layer: &LayerSpec) -> Fit {
        self.fit(layer)
    }

    fn tensors(&self, layer: &LayerSpec, _: Dtype) -> Result<Vec<TensorSpec>> {
        layer.refuse(self)?;
        let shape = [layer.rows, layer.cols];
        Ok(vec![TensorSpec::new(tensor_name(&layer.path, WEIGHT), self.choice(layer).dtype, shape)])
    }

    fn encode(&self, layer: &LayerSpec, weight: &PackedTensor, _: Dtype) -> Result<Vec<(String, Vec<u8>)>> {
        weight.check()?;
        layer.check(weight)?;
        layer.refuse(self)?;
        let name = tensor_name(&layer.path, WEIGHT);
        let heads = self.model.and_then(|model| model.heads_of(&name));
        Ok(vec![(name, encode::encode(layer, weight, &self.choice(layer), heads)?)])
    }

    fn config(&self, layers: &[LayerSpec], kept: &[String]) -> Result<Value> {
        if let Some(layer) = layers.iter().find(|layer| kept.contains(&layer.path)) {
            return Err(Error::config("plan", format!("{} is both quantized and kept", layer.path)));
        }
        let mut config = json!({"quant_method": NAME});
        if let Some(Model { architecture, heads, kv_heads }) = self.model {
            config["architecture"] = architecture.name().into();
            if architecture == GgufArchitecture::Llama {
                (config["heads"], config["key_value_heads"]) = (heads.into(), kv_heads.into());
            }
        }
        Ok(config)
    }

    fn scale_error(&self) -> f32 {
        F16_ERROR
    }

    fn read_back(&self, layer: &LayerSpec) -> ReadBack {
        self.choice(layer).read_back
    }

    fn as_read(&self, layer: &LayerSpec, weight: PackedTensor) -> Result<PackedTensor> {
        self.choice(layer).widened(weight)
    }

    fn whole_file(&self) -> Option<&'static str> {
        Some(GGUF_FILE)
    }

    fn container(&self, model: &WholeModel<'_>) -> Result<Box<dyn Container>> {
        let known = match self.model {
            Some(known) => known,
            None => Self::of(model.config)?.model.ok_or_else(|| unknown(Family::Opt))?,
        };
        Ok(Box::new(container::File::new(known, model)?))
    }

    fn notes(&self, layers: &[LayerSpec]) -> Vec<String> {
        types::notes(layers, self.ternary)
    }
}

/// The error for a family without an architecture.
fn unknown(family: Family) -> Error {
    Error::Unsupported {
        what: format!("a model of the family {} as GGUF, for which llama.cpp has no architecture,", family.name()),
        remedy: format!(
            "these can be written: {}",
            Family::ALL
                .into_iter()
                .filter(|f| GgufArchitecture::of(*f).is_some())
                .map(Family::name)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}
