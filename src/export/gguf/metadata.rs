//! The settings of a GGUF file, from a model's configuration.

use super::unknown;
use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::io::{Architecture, Family, GgufArchitecture, LlamaConfig, ModelConfig, RopeScaling};

/// A value of a setting.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Setting {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
}

/// Settings in the order of the file.
pub(super) type Settings = Vec<(String, Setting)>;

impl Setting {
    pub(super) fn size(value: usize) -> Result<Self> {
        let too_large = |_| Error::config("setting", format!("{value} is too large for a GGUF file"));
        u32::try_from(value).map(Self::U32).map_err(too_large)
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Type and bytes.
    fn encode(&self, bytes: &mut Vec<u8>) {
        fn text(bytes: &mut Vec<u8>, text: &str) {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        fn list(bytes: &mut Vec<u8>, kind: u32, length: usize) {
            bytes.extend(9u32.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend((length as u64).to_le_bytes());
        }
        match self {
            Self::U32(value) => {
                bytes.extend(4u32.to_le_bytes());
                bytes.extend(value.to_le_bytes());
            }
            Self::F32(value) => {
                bytes.extend(6u32.to_le_bytes());
                bytes.extend(value.to_le_bytes());
            }
            Self::Bool(value) => {
                bytes.extend(7u32.to_le_bytes());
                bytes.push((*value).into());
            }
            Self::Text(value) => {
                bytes.extend(8u32.to_le_bytes());
                text(bytes, value);
            }
            Self::Texts(values) => {
                list(bytes, 8, values.len());
                values.iter().for_each(|value| text(bytes, value));
            }
            Self::F32s(values) => {
                list(bytes, 6, values.len());
                values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            }
            Self::I32s(values) => {
                list(bytes, 5, values.len());
                values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            }
        }
    }
}

/// Names and values, one after the other.
pub(super) fn encode(settings: &Settings) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in settings {
        bytes.extend((key.len() as u64).to_le_bytes());
        bytes.extend(key.as_bytes());
        value.encode(&mut bytes);
    }
    bytes
}

fn otherwise(config: &ModelConfig, what: &str) -> Error {
    Error::Unsupported {
        what: format!("a {} with {what} as GGUF", config.family.name()),
        remedy: "readers of this architecture compute without it; use another format".into(),
    }
}

/// The architecture whose readers compute what the model does.
///
/// # Errors
/// [`Error::Unsupported`] if there is none.
pub(super) fn architecture(config: &ModelConfig) -> Result<GgufArchitecture> {
    let architecture = GgufArchitecture::of(config.family).ok_or_else(|| unknown(config.family))?;
    let refuse = |what: &str| Err(otherwise(config, what));
    match &config.architecture {
        Architecture::Opt(_) => return Err(unknown(config.family)),
        Architecture::Gpt2(own) => {
            if config.hidden_act != Activation::GeluTanh {
                return refuse(&format!("the activation {}", config.hidden_act));
            }
            if !own.scale_attn_weights || own.scale_attn_by_inverse_layer_idx {
                return refuse("other scales of attention");
            }
        }
        Architecture::Llama(own) => {
            if config.hidden_act != Activation::Silu {
                return refuse(&format!("the activation {}", config.hidden_act));
            }
            if (0..config.num_hidden_layers).any(|layer| own.window(layer).is_some_and(|w| w < config.context())) {
                return refuse("a sliding window");
            }
            if matches!(own.rope.scaling, RopeScaling::Llama3 { .. }) {
                return refuse("rotary frequencies scaled as in Llama 3.1");
            }
            let biases = own.qkv_bias || own.o_bias;
            if matches!(config.family, Family::Qwen3 | Family::Bitnet) && biases {
                return refuse("biases in attention");
            }
            if config.family == Family::Bitnet && !config.tie_word_embeddings {
                return refuse("an output head of its own");
            }
        }
    }
    Ok(architecture)
}

/// What the file says of the model's shape.
pub(super) fn of(config: &ModelConfig, architecture: GgufArchitecture) -> Result<Settings> {
    let key = |name: &str| format!("{}.{name}", architecture.name());
    let size = |name: &str, value| Ok::<_, Error>((key(name), Setting::size(value)?));
    let mut settings = vec![
        size("context_length", config.max_position_embeddings)?,
        size("embedding_length", config.hidden_size)?,
        size("block_count", config.num_hidden_layers)?,
        size("feed_forward_length", config.intermediate_size)?,
        size("attention.head_count", config.num_attention_heads)?,
        size("vocab_size", config.vocab_size)?,
    ];
    match &config.architecture {
        Architecture::Llama(own) => settings.extend(llama(config, own, key)?),
        Architecture::Gpt2(_) | Architecture::Opt(_) => {
            settings.push((key("attention.layer_norm_epsilon"), Setting::F32(config.norm_eps)));
        }
    }
    Ok(settings)
}

#[allow(clippy::cast_possible_truncation, reason = "the file has f32")]
fn llama(config: &ModelConfig, own: &LlamaConfig, key: impl Fn(&str) -> String) -> Result<Settings> {
    let mut settings = vec![
        (key("attention.head_count_kv"), Setting::size(config.num_key_value_heads)?),
        (key("attention.layer_norm_rms_epsilon"), Setting::F32(config.norm_eps)),
        (key("rope.freq_base"), Setting::F32(own.rope.theta as f32)),
        (key("rope.dimension_count"), Setting::size(config.head_dim)?),
    ];
    if config.head_dim * config.num_attention_heads != config.hidden_size || config.family == Family::Qwen3 {
        settings.push((key("attention.key_length"), Setting::size(config.head_dim)?));
        settings.push((key("attention.value_length"), Setting::size(config.head_dim)?));
    }
    if let RopeScaling::Linear { factor } = own.rope.scaling {
        settings.push((key("rope.scaling.type"), Setting::text("linear")));
        settings.push((key("rope.scaling.factor"), Setting::F32(factor as f32)));
    }
    Ok(settings)
}
