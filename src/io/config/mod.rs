//! What `config.json` says about a model that can be run.

mod fields;
mod gpt2;
mod llama;
mod opt;
mod rope;
mod window;

use std::path::Path;

use serde_json::Value;

use fields::{Fields, MAX_SIZE};
pub use gpt2::{Gpt2Config, is_conv1d};
pub use llama::LlamaConfig;
pub use opt::OptConfig;
pub use rope::{RopeConfig, RopeScaling};
pub use window::WindowLayers;

use super::gguf::{config_of, gguf_of};
use super::json::{parse_object, read_object};
use crate::activation::Activation;
use crate::error::{Error, Result};

/// The file with the configuration of a model.
pub const CONFIG_FILE: &str = "config.json";

/// A kind of model that can be run, by its `model_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Llama 2 and 3, SmolLM, TinyLlama.
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen 2 and 2.5: biases on the query, key and value projections.
    Qwen2,
    /// Qwen 3: norms on queries and keys.
    Qwen3,
    /// OPT of every size.
    Opt,
    /// GPT-2 of every size.
    Gpt2,
    /// BitNet: norms before the output and down projections as well.
    Bitnet,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 7] =
        [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Opt, Self::Gpt2, Self::Bitnet];

    /// The `model_type` of the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Opt => "opt",
            Self::Gpt2 => "gpt2",
            Self::Bitnet => "bitnet",
        }
    }
}

/// What a family has of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Architecture {
    /// Llama, Mistral, Qwen 2 and 3, BitNet.
    Llama(LlamaConfig),
    /// OPT.
    Opt(OptConfig),
    /// GPT-2.
    Gpt2(Gpt2Config),
}

/// The shape of a model, and in `architecture` what only its family has. Field names are those of Llama's file; OPT and
/// GPT-2 call some of them otherwise.
///
/// ```
/// use bitsmith::io::ModelConfig;
/// let text = r#"{"model_type": "llama", "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 5,
///     "num_attention_heads": 8, "vocab_size": 512, "max_position_embeddings": 512}"#;
/// let (config, _) = ModelConfig::parse("config.json".as_ref(), text)?;
/// assert_eq!((config.head_dim, config.context()), (8, 512));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields without a comment are what the file calls by the same name")]
pub struct ModelConfig {
    pub family: Family,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    /// Divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Even where positions are rotary.
    pub head_dim: usize,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    /// Of RMSNorm or LayerNorm.
    pub norm_eps: f32,
    pub hidden_act: Activation,
    pub tie_word_embeddings: bool,
    pub architecture: Architecture,
    pub bos_token_id: Option<u32>,
    pub eos_token_ids: Vec<u32>,
}

impl ModelConfig {
    /// Reads `config.json` in `folder`. The second part of the result is the whole file, `quantization_config` and
    /// all other fields included.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] that names field, value and remedy; [`Error::Unsupported`] for an
    /// architecture or a kind of RoPE scaling that cannot be run. [`read_config`] reads the file for those as well.
    pub fn read(folder: &Path) -> Result<(Self, Value)> {
        let value = read_config(folder)?;
        let file = gguf_of(folder).unwrap_or_else(|| folder.join(CONFIG_FILE));
        Ok((Self::from_value(&file, &value)?, value))
    }

    /// As [`Self::read`], from the text of a configuration; `path` serves the messages only.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(path: &Path, text: &str) -> Result<(Self, Value)> {
        let value = parse_object(path, text.as_bytes())?;
        Ok((Self::from_value(path, &value)?, value))
    }

    /// As [`Self::read`], from JSON; `path` serves the messages only.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_value(path: &Path, value: &Value) -> Result<Self> {
        let config = Fields::new(path, value);
        match family(config)? {
            Family::Opt => opt::read(config),
            Family::Gpt2 => gpt2::read(config),
            family => llama::read(config, family),
        }
    }

    /// The longest text that the model was made for, in tokens. A sliding window does not shorten it.
    pub fn context(&self) -> usize {
        self.max_position_embeddings
    }
}

/// The whole of `config.json` in `folder`, for any architecture; for a GGUF file what it says of itself, in the same terms.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Format`] if it is no JSON object, [`Error::Unsupported`] for a GGUF file of an
/// unknown architecture.
pub fn read_config(folder: &Path) -> Result<Value> {
    if let Some(file) = gguf_of(folder) {
        return config_of(&file);
    }
    read_object(&folder.join(CONFIG_FILE))
}

fn family(config: Fields<'_>) -> Result<Family> {
    let name = config.string("model_type")?;
    // The published SmolLM models say `llama`; some copies say this.
    let name = if name == "smollm" { "llama" } else { name };
    Family::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| Error::Unsupported {
        what: format!("model_type `{name}`"),
        remedy: format!("models of type {} can be run", Family::ALL.map(Family::name).join(", ")),
    })
}

/// Features of a head: as given, or the model's width, of which the field name comes with it, divided by the heads.
fn head_dim(config: Fields<'_>, given: Option<usize>, (field, width): (&str, usize), heads: usize) -> Result<usize> {
    let head_dim = match given {
        Some(head_dim) => head_dim,
        None if width.is_multiple_of(heads) => width / heads,
        None => return Err(config.bad(field, width, &format!("must be a multiple of the {heads} heads"))),
    };
    if (head_dim as u64).saturating_mul(heads as u64) > MAX_SIZE {
        let remedy = format!("must be at most {MAX_SIZE} for all {heads} heads together");
        return Err(config.bad("head_dim", head_dim, &remedy));
    }
    Ok(head_dim)
}

fn norm_eps(config: Fields<'_>, field: &str, default: f64) -> Result<f32> {
    let eps = config.optional_positive(field)?.unwrap_or(default);
    #[allow(clippy::cast_possible_truncation, reason = "rounded to the precision that norms are computed in")]
    let rounded = eps as f32;
    if rounded.is_normal() && rounded < 1.0 {
        Ok(rounded)
    } else {
        Err(config.bad(field, eps, "must be a small positive number, usually 1e-5 or 1e-6"))
    }
}
