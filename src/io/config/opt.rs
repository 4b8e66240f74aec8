//! The fields of OPT: LayerNorm, learned positions, biases and a plain feed-forward block.

use super::fields::Fields;
use super::{Architecture, Family, ModelConfig, head_dim};
use crate::error::Result;

/// The files name no epsilon; it is that of the library the models were trained with.
const NORM_EPS: f32 = 1e-5;

/// What OPT has beside a [`ModelConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptConfig {
    /// Width of the token embedding and of the input of the head. Where it is not `hidden_size`, projections lead there
    /// and back.
    pub word_embed_proj_dim: usize,
    /// Whether the norms of a block stand before attention and feed-forward, or after the sums.
    pub do_layer_norm_before: bool,
    /// Whether a norm follows the last block.
    pub final_layer_norm: bool,
    /// Whether norms have a weight and a bias.
    pub norm_affine: bool,
    /// Whether linear layers have a bias.
    pub enable_bias: bool,
}

pub(super) fn read(config: Fields<'_>) -> Result<ModelConfig> {
    let hidden_size = config.size("hidden_size")?;
    let num_attention_heads = config.size("num_attention_heads")?;
    let vocab_size = config.size("vocab_size")?;
    let flag = |field, default| Ok(config.optional_bool(field)?.unwrap_or(default));
    let do_layer_norm_before = flag("do_layer_norm_before", true)?;
    Ok(ModelConfig {
        family: Family::Opt,
        hidden_size,
        intermediate_size: config.size("ffn_dim")?,
        num_hidden_layers: config.size("num_hidden_layers")?,
        num_attention_heads,
        num_key_value_heads: num_attention_heads,
        head_dim: head_dim(config, None, ("hidden_size", hidden_size), num_attention_heads)?,
        vocab_size,
        max_position_embeddings: config.size("max_position_embeddings")?,
        norm_eps: NORM_EPS,
        hidden_act: config.activation("activation_function", "relu")?,
        tie_word_embeddings: flag("tie_word_embeddings", true)?,
        architecture: Architecture::Opt(OptConfig {
            word_embed_proj_dim: config.optional_size("word_embed_proj_dim")?.unwrap_or(hidden_size),
            do_layer_norm_before,
            final_layer_norm: do_layer_norm_before && !flag("_remove_final_layer_norm", false)?,
            norm_affine: flag("layer_norm_elementwise_affine", true)?,
            enable_bias: flag("enable_bias", true)?,
        }),
        bos_token_id: config.token_ids("bos_token_id", vocab_size)?.first().copied(),
        eos_token_ids: config.token_ids("eos_token_id", vocab_size)?,
    })
}
