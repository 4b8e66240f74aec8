//! What `config.json` says about a model of the Llama family.

mod fields;
mod rope;
mod window;

use std::path::Path;

use serde_json::Value;

use fields::{Fields, MAX_SIZE};
pub use rope::{RopeConfig, RopeScaling};
pub use window::WindowLayers;

use super::json::{parse_object, read_object};
use crate::activation::Activation;
use crate::error::{Error, Result};

/// The file with the configuration of a model.
pub const CONFIG_FILE: &str = "config.json";

/// An architecture that can be run: decoders with RMSNorm, RoPE, grouped heads and a gated feed-forward block, which
/// differ in biases and norms.
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
}

impl Family {
    /// All families.
    pub const ALL: [Self; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3];

    /// The `model_type` of the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// The shape of a model of the Llama family. Field names are those of the file.
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
    /// Even.
    pub head_dim: usize,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f32,
    pub hidden_act: Activation,
    pub tie_word_embeddings: bool,
    /// Whether the query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// Whether the output projection of attention has a bias.
    pub o_bias: bool,
    /// Whether the feed-forward projections have a bias.
    pub mlp_bias: bool,
    /// Whether queries and keys of each head pass an RMSNorm.
    pub qk_norm: bool,
    pub rope: RopeConfig,
    /// Tokens that attention sees, itself included, in the layers that limit it.
    pub sliding_window: Option<usize>,
    /// The layers that limit it; see [`Self::window`].
    pub window_layers: WindowLayers,
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
        Ok((Self::from_value(&folder.join(CONFIG_FILE), &value)?, value))
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
        let family = family(config)?;
        let hidden_size = config.size("hidden_size")?;
        let num_hidden_layers = config.size("num_hidden_layers")?;
        let num_attention_heads = config.size("num_attention_heads")?;
        let num_key_value_heads = config.optional_size("num_key_value_heads")?.unwrap_or(num_attention_heads);
        if !num_attention_heads.is_multiple_of(num_key_value_heads) {
            let remedy = format!("must divide num_attention_heads, {num_attention_heads}");
            return Err(config.bad("num_key_value_heads", num_key_value_heads, &remedy));
        }
        let head_dim = head_dim(config, family, hidden_size, num_attention_heads)?;
        let vocab_size = config.size("vocab_size")?;
        let attention_bias = config.optional_bool("attention_bias")?.unwrap_or(false);
        let mlp_bias = config.optional_bool("mlp_bias")?.unwrap_or(false);
        let has_attention_bias = matches!(family, Family::Llama | Family::Qwen3) && attention_bias;

        Ok(Self {
            family,
            hidden_size,
            intermediate_size: config.size("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            vocab_size,
            max_position_embeddings: config.size("max_position_embeddings")?,
            rms_norm_eps: rms_norm_eps(config)?,
            hidden_act: hidden_act(config)?,
            tie_word_embeddings: config.optional_bool("tie_word_embeddings")?.unwrap_or(false),
            qkv_bias: family == Family::Qwen2 || has_attention_bias,
            o_bias: has_attention_bias,
            mlp_bias: family == Family::Llama && mlp_bias,
            qk_norm: family == Family::Qwen3,
            rope: RopeConfig::read(config)?,
            sliding_window: sliding_window(config, family)?,
            window_layers: WindowLayers::read(config, family, num_hidden_layers)?,
            bos_token_id: config.token_ids("bos_token_id", vocab_size)?.first().copied(),
            eos_token_ids: config.token_ids("eos_token_id", vocab_size)?,
        })
    }

    /// The longest text that the model was made for, in tokens. A sliding window does not shorten it.
    pub fn context(&self) -> usize {
        self.max_position_embeddings
    }

    /// Tokens that attention sees in a layer, itself included; all if none.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.filter(|_| self.window_layers.contains(layer))
    }
}

/// The whole of `config.json` in `folder`, for any architecture.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Format`] if it is no JSON object.
pub fn read_config(folder: &Path) -> Result<Value> {
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

fn head_dim(config: Fields<'_>, family: Family, hidden_size: usize, heads: usize) -> Result<usize> {
    let head_dim = match config.optional_size("head_dim")? {
        Some(head_dim) => head_dim,
        // Qwen 3 does not derive it; files that leave it out mean this.
        None if family == Family::Qwen3 => 128,
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            return Err(config.bad("hidden_size", hidden_size, &format!("must be a multiple of the {heads} heads")));
        }
    };
    if !head_dim.is_multiple_of(2) {
        return Err(config.bad("head_dim", head_dim, "must be even, since RoPE turns pairs"));
    }
    if (head_dim as u64).saturating_mul(heads as u64) > MAX_SIZE {
        return Err(config.bad(
            "head_dim",
            head_dim,
            &format!("must be at most {MAX_SIZE} for all {heads} heads together"),
        ));
    }
    Ok(head_dim)
}

fn rms_norm_eps(config: Fields<'_>) -> Result<f32> {
    let eps = config.optional_positive("rms_norm_eps")?.unwrap_or(1e-6);
    #[allow(clippy::cast_possible_truncation, reason = "rounded to the precision that norms are computed in")]
    let rounded = eps as f32;
    if rounded.is_normal() && rounded < 1.0 {
        Ok(rounded)
    } else {
        Err(config.bad("rms_norm_eps", eps, "must be a small positive number, usually 1e-5 or 1e-6"))
    }
}

fn hidden_act(config: Fields<'_>) -> Result<Activation> {
    let name = config.optional_string("hidden_act")?.unwrap_or("silu");
    name.parse().map_err(|error: Error| config.bad("hidden_act", name, &format!("cannot be run ({error})")))
}

/// The attention window, with the defaults that each family has when the field is absent.
fn sliding_window(config: Fields<'_>, family: Family) -> Result<Option<usize>> {
    const DEFAULT: usize = 4096;
    let window = config.optional_size("sliding_window")?;
    match family {
        Family::Llama => Ok(None),
        Family::Mistral if config.is_null("sliding_window") => Ok(None),
        Family::Mistral => Ok(Some(window.unwrap_or(DEFAULT))),
        Family::Qwen2 | Family::Qwen3 => {
            let used = config.optional_bool("use_sliding_window")?.unwrap_or(false);
            Ok(used.then(|| window.unwrap_or(DEFAULT)))
        }
    }
}
