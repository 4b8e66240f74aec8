//! The settings of a GGUF file as the config.json that the model has elsewhere.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::header::GgufHeader;
use super::names::GgufArchitecture;
use crate::error::{Error, Result};

/// The settings of a file, under the names of its architecture.
struct Settings<'a> {
    path: &'a Path,
    header: &'a GgufHeader,
    architecture: GgufArchitecture,
}

/// The architecture of a file.
pub fn architecture(path: &Path, header: &GgufHeader) -> Result<GgufArchitecture> {
    let name = header.text("general.architecture");
    let name = name.ok_or_else(|| Error::format(path, "`general.architecture` is missing or no text"))?;
    GgufArchitecture::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| Error::Unsupported {
        what: format!("{}: general.architecture `{name}`", path.display()),
        remedy: format!("these can be run: {}", GgufArchitecture::ALL.map(GgufArchitecture::name).join(", ")),
    })
}

impl GgufHeader {
    /// The whole config.json that the file stands for. Its `quantization_config` tells the reader of the layers what it
    /// needs. `path` serves the messages only.
    ///
    /// # Errors
    /// [`Error::Format`] that names the setting or the tensor at fault; [`Error::Unsupported`] for a model that cannot be run.
    pub fn config(&self, path: &Path) -> Result<Value> {
        config(path, self)
    }
}

fn config(path: &Path, header: &GgufHeader) -> Result<Value> {
    let settings = Settings { path, header, architecture: architecture(path, header)? };
    if let Some(parts) = header.settings.get("split.count").and_then(Value::as_u64).filter(|n| *n > 1) {
        let what = format!("{}: one of {parts} parts of a model", path.display());
        return Err(Error::Unsupported { what, remedy: "join the parts first (llama-gguf-split --merge)".into() });
    }
    let mut config = match settings.architecture {
        GgufArchitecture::Gpt2 => settings.gpt2()?,
        _ => settings.llama()?,
    };
    let tokens = |key: &str| header.settings.get(&format!("tokenizer.ggml.{key}_token_id")).cloned();
    let vocabulary = settings.vocabulary()?;
    for (field, token) in [("bos_token_id", tokens("bos")), ("eos_token_id", tokens("eos"))] {
        // A file without a tokenizer may hold an id that no token has.
        let token = token.filter(|id| id.as_u64().is_some_and(|id| id < vocabulary as u64));
        config.insert(field.into(), token.unwrap_or(Value::Null));
    }
    config.insert("vocab_size".into(), vocabulary.into());
    config.insert("tie_word_embeddings".into(), (!settings.has("output.weight")).into());
    config.insert("torch_dtype".into(), "float16".into());
    let mut quantization = json!({"quant_method": "gguf", "architecture": settings.architecture.name()});
    if settings.architecture == GgufArchitecture::Llama {
        quantization["heads"] = config["num_attention_heads"].clone();
        quantization["key_value_heads"] = config["num_key_value_heads"].clone();
    }
    config.insert("quantization_config".into(), quantization);
    Ok(config.into())
}

impl Settings<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture.name())
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.header.settings.get(&self.key(name))
    }

    fn needed(&self, name: &str) -> Result<Value> {
        let value = self.get(name).filter(|value| value.is_number());
        value.cloned().ok_or_else(|| {
            Error::format(self.path, format!("`{}` is missing or no number; the model needs it", self.key(name)))
        })
    }

    fn has(&self, tensor: &str) -> bool {
        self.header.tensor(tensor).is_some()
    }

    fn unsupported(&self, what: &str, remedy: &str) -> Error {
        Error::Unsupported { what: format!("{}: {what}", self.path.display()), remedy: remedy.to_owned() }
    }

    /// Rows of the embedding.
    fn vocabulary(&self) -> Result<usize> {
        let embedding = self.header.tensor("token_embd.weight");
        embedding
            .and_then(|tensor| tensor.shape.first().copied())
            .ok_or_else(|| Error::format(self.path, "tensor `token_embd.weight` is missing; the model needs it"))
    }

    fn gpt2(&self) -> Result<Map<String, Value>> {
        Ok(object(json!({
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "n_positions": self.needed("context_length")?,
            "n_embd": self.needed("embedding_length")?,
            "n_layer": self.needed("block_count")?,
            "n_head": self.needed("attention.head_count")?,
            "n_inner": self.needed("feed_forward_length")?,
            "layer_norm_epsilon": self.needed("attention.layer_norm_epsilon")?,
            "activation_function": "gelu_new",
        })))
    }

    fn llama(&self) -> Result<Map<String, Value>> {
        if self.has("rope_freqs.weight") {
            let remedy = "models whose rotary frequencies are not stored can be run";
            return Err(self.unsupported("tensor `rope_freqs.weight`", remedy));
        }
        let (model_type, class) = match self.architecture {
            GgufArchitecture::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            GgufArchitecture::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
            GgufArchitecture::Bitnet => ("bitnet", "BitNetForCausalLM"),
            GgufArchitecture::Llama | GgufArchitecture::Gpt2 => ("llama", "LlamaForCausalLM"),
        };
        let heads = self.needed("attention.head_count")?;
        let hidden = self.needed("embedding_length")?;
        let head_dim = match self.get("attention.key_length").or_else(|| self.get("rope.dimension_count")) {
            Some(length) => Some(length.clone()),
            None => hidden.as_u64().zip(heads.as_u64().filter(|n| *n > 0)).map(|(width, n)| (width / n).into()),
        };
        if self.get("rope.dimension_count").is_some_and(|turned| Some(turned) != head_dim.as_ref()) {
            return Err(self.unsupported("rotary positions of a part of a head", "whole heads can be rotated"));
        }
        let mut config = object(json!({
            "model_type": model_type,
            "architectures": [class],
            "hidden_size": hidden,
            "intermediate_size": self.needed("feed_forward_length")?,
            "num_hidden_layers": self.needed("block_count")?,
            "num_key_value_heads": self.get("attention.head_count_kv").unwrap_or(&heads),
            "num_attention_heads": heads,
            "head_dim": head_dim,
            "max_position_embeddings": self.needed("context_length")?,
            "rms_norm_eps": self.needed("attention.layer_norm_rms_epsilon")?,
            "rope_theta": self.get("rope.freq_base").cloned().unwrap_or_else(|| 10_000.0.into()),
            "hidden_act": "silu",
        }));
        if let Some(scaling) = self.scaling()? {
            config.insert("rope_scaling".into(), scaling);
        }
        if self.architecture == GgufArchitecture::Llama {
            let [q, o] = ["attn_q", "attn_output"].map(|part| self.has(&format!("blk.0.{part}.bias")));
            if q != o {
                let remedy = "models with biases on all of them or on none can be run";
                return Err(self.unsupported("biases on some projections of attention", remedy));
            }
            config.insert("attention_bias".into(), q.into());
            config.insert("mlp_bias".into(), self.has("blk.0.ffn_gate.bias").into());
        }
        Ok(config)
    }

    /// How rotary frequencies are changed, if they are.
    fn scaling(&self) -> Result<Option<Value>> {
        match self.get("rope.scaling.type").and_then(Value::as_str) {
            None | Some("none") => Ok(None),
            Some("linear") => Ok(Some(json!({"rope_type": "linear", "factor": self.needed("rope.scaling.factor")?}))),
            Some(other) => {
                Err(self.unsupported(&format!("`{}` is {other}", self.key("rope.scaling.type")), "linear can be run"))
            }
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
