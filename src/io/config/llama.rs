//! The fields of the Llama family: RMSNorm, RoPE, grouped heads and a gated feed-forward block. Its members differ in
//! biases, norms and windows.

use super::fields::Fields;
use super::rope::RopeConfig;
use super::window::WindowLayers;
use super::{Architecture, Family, ModelConfig, head_dim, norm_eps};
use crate::error::Result;

/// What the Llama family has beside a [`ModelConfig`].
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Whether the query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// Whether the output projection of attention has a bias.
    pub o_bias: bool,
    /// Whether the feed-forward projections have a bias.
    pub mlp_bias: bool,
    /// Whether queries and keys of each head pass an RMSNorm.
    pub qk_norm: bool,
    /// Whether the inputs of the output and down projections pass an RMSNorm.
    pub sub_norms: bool,
    /// Frequencies of the rotary positions.
    pub rope: RopeConfig,
    /// Tokens that attention sees, itself included, in the layers that limit it.
    pub sliding_window: Option<usize>,
    /// The layers that limit it; see [`Self::window`].
    pub window_layers: WindowLayers,
}

impl LlamaConfig {
    /// Tokens that attention sees in a layer, itself included; all if none.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.filter(|_| self.window_layers.contains(layer))
    }
}

pub(super) fn read(config: Fields<'_>, family: Family) -> Result<ModelConfig> {
    let hidden_size = config.size("hidden_size")?;
    let num_hidden_layers = config.size("num_hidden_layers")?;
    let num_attention_heads = config.size("num_attention_heads")?;
    let num_key_value_heads = config.optional_size("num_key_value_heads")?.unwrap_or(num_attention_heads);
    if !num_attention_heads.is_multiple_of(num_key_value_heads) {
        let remedy = format!("must divide num_attention_heads, {num_attention_heads}");
        return Err(config.bad("num_key_value_heads", num_key_value_heads, &remedy));
    }
    let given = match config.optional_size("head_dim")? {
        // Qwen 3 does not derive it; files that leave it out mean this.
        None if family == Family::Qwen3 => Some(128),
        given => given,
    };
    let head_dim = head_dim(config, given, ("hidden_size", hidden_size), num_attention_heads)?;
    if !head_dim.is_multiple_of(2) {
        return Err(config.bad("head_dim", head_dim, "must be even, since RoPE turns pairs"));
    }
    let vocab_size = config.size("vocab_size")?;
    let max_position_embeddings = config.size("max_position_embeddings")?;
    let attention_bias = config.optional_bool("attention_bias")?.unwrap_or(false);
    let mlp_bias = config.optional_bool("mlp_bias")?.unwrap_or(false);
    let has_attention_bias = matches!(family, Family::Llama | Family::Qwen3 | Family::Bitnet) && attention_bias;
    let (theta, eps, activation) = match family {
        Family::Bitnet => (500_000.0, 1e-5, "relu2"),
        _ => (10_000.0, 1e-6, "silu"),
    };

    Ok(ModelConfig {
        family,
        hidden_size,
        intermediate_size: config.size("intermediate_size")?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        vocab_size,
        max_position_embeddings,
        norm_eps: norm_eps(config, "rms_norm_eps", eps)?,
        hidden_act: config.activation("hidden_act", activation)?,
        tie_word_embeddings: config.optional_bool("tie_word_embeddings")?.unwrap_or(false),
        architecture: Architecture::Llama(LlamaConfig {
            qkv_bias: family == Family::Qwen2 || has_attention_bias,
            o_bias: has_attention_bias,
            mlp_bias: family == Family::Llama && mlp_bias,
            qk_norm: family == Family::Qwen3,
            sub_norms: family == Family::Bitnet,
            rope: RopeConfig::read(config, max_position_embeddings, theta)?,
            sliding_window: sliding_window(config, family)?,
            window_layers: WindowLayers::read(config, family, num_hidden_layers)?,
        }),
        bos_token_id: config.token_ids("bos_token_id", vocab_size)?.first().copied(),
        eos_token_ids: config.token_ids("eos_token_id", vocab_size)?,
    })
}

/// The attention window, with the defaults that each family has when the field is absent.
fn sliding_window(config: Fields<'_>, family: Family) -> Result<Option<usize>> {
    const DEFAULT: usize = 4096;
    let window = config.optional_size("sliding_window")?;
    match family {
        Family::Mistral if config.is_null("sliding_window") => Ok(None),
        Family::Mistral => Ok(Some(window.unwrap_or(DEFAULT))),
        Family::Qwen2 | Family::Qwen3 => {
            let used = config.optional_bool("use_sliding_window")?.unwrap_or(false);
            Ok(used.then(|| window.unwrap_or(DEFAULT)))
        }
        _ => Ok(None),
    }
}
