//! How byte-level vocabularies cut a text before they merge, by the names that GGUF gives it.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// A way of cutting, as `tokenizer.ggml.pre` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreTokenizer {
    /// That of GPT-2.
    Gpt2,
    /// That of Llama 3: digits by threes, tokens of whole words before merges.
    Llama3,
    /// That of Qwen 2: digits one by one, composed characters.
    Qwen2,
    /// That of SmolLM: digits one by one, then as GPT-2.
    SmolLm,
}

/// Llama 3's expression; the other one differs in the number of digits.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl PreTokenizer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gpt2, Self::Llama3, Self::Qwen2, Self::SmolLm];

    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt-2",
            Self::Llama3 => "llama-bpe",
            Self::Qwen2 => "qwen2",
            Self::SmolLm => "smollm",
        }
    }

    /// The way of a name; GPT-2's where none is named.
    pub fn named(path: &Path, name: Option<&str>) -> Result<Self> {
        let Some(name) = name else { return Ok(Self::Gpt2) };
        Self::ALL.into_iter().find(|pre| pre.name() == name).ok_or_else(|| Error::Unsupported {
            what: format!("{}: tokenizer.ggml.pre `{name}`", path.display()),
            remedy: format!("these can be used: {}", Self::ALL.map(Self::name).join(", ")),
        })
    }

    /// Whether a word that is a token itself is not merged from its parts.
    pub const fn ignores_merges(self) -> bool {
        matches!(self, Self::Llama3)
    }

    /// What is done to the text before.
    pub fn normalizer(self) -> Value {
        if self == Self::Qwen2 { json!({"type": "NFC"}) } else { Value::Null }
    }

    /// The `pre_tokenizer` of a tokenizer.json.
    pub fn json(self) -> Value {
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let sequence = |parts: [Value; 2]| json!({"type": "Sequence", "pretokenizers": parts});
        match self {
            Self::Gpt2 => bytes(true),
            Self::Llama3 => sequence([split(LLAMA_3), bytes(false)]),
            Self::Qwen2 => sequence([split(QWEN_2), bytes(false)]),
            Self::SmolLm => sequence([json!({"type": "Digits", "individual_digits": true}), bytes(true)]),
        }
    }

    /// The way that a tokenizer.json cuts, if it is one of these. How offsets are trimmed is of no account.
    pub fn of(tokenizer: &Value) -> Option<Self> {
        let plain = |value: &Value| {
            let mut value = value.clone();
            let parts = value.get_mut("pretokenizers").and_then(Value::as_array_mut);
            match parts {
                Some(parts) => {
                    parts.iter_mut().for_each(|part| drop(part.as_object_mut().map(|p| p.remove("trim_offsets"))))
                }
                None => drop(value.as_object_mut().map(|p| p.remove("trim_offsets"))),
            }
            value
        };
        let (pre, normalizer) = (plain(&tokenizer["pre_tokenizer"]), &tokenizer["normalizer"]);
        Self::ALL.into_iter().find(|known| plain(&known.json()) == pre && known.normalizer() == *normalizer)
    }
}
