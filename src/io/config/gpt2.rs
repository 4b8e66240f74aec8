//! The fields of GPT-2: LayerNorm, learned positions, fused projections whose weights are stored transposed.

use serde_json::Value;

use super::fields::Fields;
use super::{Architecture, Family, ModelConfig, head_dim, norm_eps};
use crate::error::{Error, Result};

/// What GPT-2 has beside a [`ModelConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpt2Config {
    /// Whether attention divides its scores by the square root of the features of a head.
    pub scale_attn_weights: bool,
    /// Whether attention also divides them by the number of the layer, counted from 1.
    pub scale_attn_by_inverse_layer_idx: bool,
}

/// Names of the modules that GPT-2 keeps as `Conv1D`.
const CONV1D: [&str; 3] = ["c_attn", "c_proj", "c_fc"];

/// Whether the layer at `path` of the model with this `config.json` is a `Conv1D`: its weight is stored
/// `[in_features, out_features]`.
///
/// ```
/// let config = serde_json::json!({"model_type": "gpt2"});
/// assert!(bitsmith::io::is_conv1d(&config, "transformer.h.0.attn.c_attn"));
/// assert!(!bitsmith::io::is_conv1d(&config, "lm_head"));
/// ```
pub fn is_conv1d(config: &Value, path: &str) -> bool {
    let family = config.get("model_type").and_then(Value::as_str);
    family == Some(Family::Gpt2.name()) && path.rsplit('.').next().is_some_and(|module| CONV1D.contains(&module))
}

pub(super) fn read(config: Fields<'_>) -> Result<ModelConfig> {
    let hidden_size = config.size("n_embd")?;
    let num_attention_heads = config.size("n_head")?;
    let vocab_size = config.size("vocab_size")?;
    let flag = |field, default| Ok::<_, Error>(config.optional_bool(field)?.unwrap_or(default));
    if flag("add_cross_attention", false)? {
        return Err(Error::Unsupported {
            what: "add_cross_attention".into(),
            remedy: "a GPT-2 that only decodes can be run".into(),
        });
    }
    Ok(ModelConfig {
        family: Family::Gpt2,
        hidden_size,
        intermediate_size: config.optional_size("n_inner")?.unwrap_or(4 * hidden_size),
        num_hidden_layers: config.size("n_layer")?,
        num_attention_heads,
        num_key_value_heads: num_attention_heads,
        head_dim: head_dim(config, None, ("n_embd", hidden_size), num_attention_heads)?,
        vocab_size,
        max_position_embeddings: config.size("n_positions")?,
        norm_eps: norm_eps(config, "layer_norm_epsilon", 1e-5)?,
        hidden_act: config.activation("activation_function", "gelu_new")?,
        tie_word_embeddings: flag("tie_word_embeddings", true)?,
        architecture: Architecture::Gpt2(Gpt2Config {
            scale_attn_weights: flag("scale_attn_weights", true)?,
            scale_attn_by_inverse_layer_idx: flag("scale_attn_by_inverse_layer_idx", false)?,
        }),
        bos_token_id: config.token_ids("bos_token_id", vocab_size)?.first().copied(),
        eos_token_ids: config.token_ids("eos_token_id", vocab_size)?,
    })
}
