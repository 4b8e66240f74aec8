//! The tokenizer in the settings of a GGUF file, as the tokenizer.json that says the same.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use super::header::GgufHeader;
use super::pre::PreTokenizer;
use crate::error::{Error, Result};

/// What a space becomes in the vocabularies of SentencePiece.
pub const SPACE: &str = "\u{2581}";

/// Squared lengths of all tokens together, at most: a vocabulary of 256 thousand tokens of 16 bytes has a sixteenth.
const MAX_SPLITS: u64 = 1 << 30;

/// What a token is, by its number in the file.
pub mod token_type {
    /// Stands for what no other token does.
    pub const UNKNOWN: u64 = 2;
    /// Has a meaning of its own and no text.
    pub const CONTROL: u64 = 3;
    /// Text that is never taken apart.
    pub const USER: u64 = 4;
    /// Fills a place that no token has.
    pub const UNUSED: u64 = 5;
    /// A byte.
    pub const BYTE: u64 = 6;
    /// Any other.
    pub const NORMAL: u64 = 1;
}

/// The tokenizer of a file.
pub struct GgufTokenizer<'a> {
    path: &'a Path,
    header: &'a GgufHeader,
    tokens: Vec<&'a str>,
    types: Vec<u64>,
}

impl<'a> GgufTokenizer<'a> {
    /// Reads and checks the lists of tokens and types.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a file without a tokenizer, [`Error::Format`] for lists that do not fit together.
    pub fn of(path: &'a Path, header: &'a GgufHeader) -> Result<Self> {
        let list = |name: &str| header.settings.get(&format!("tokenizer.ggml.{name}")).and_then(Value::as_array);
        let Some(tokens) = list("tokens") else {
            return Err(Error::Unsupported {
                what: format!("{}: a model file without a tokenizer", path.display()),
                remedy: "add tokenizer.ggml.tokens when the file is made".into(),
            });
        };
        let texts: Option<Vec<&str>> = tokens.iter().map(Value::as_str).collect();
        let tokens = texts.ok_or_else(|| Error::format(path, "`tokenizer.ggml.tokens` is no list of texts"))?;
        let types = match list("token_type") {
            None => vec![token_type::NORMAL; tokens.len()],
            Some(types) => types.iter().map(|kind| kind.as_u64().unwrap_or(token_type::NORMAL)).collect(),
        };
        if types.len() != tokens.len() {
            let (types, tokens) = (types.len(), tokens.len());
            return Err(Error::format(
                path,
                format!("`tokenizer.ggml.token_type` has {types} entries for {tokens} tokens"),
            ));
        }
        Ok(Self { path, header, tokens, types })
    }

    fn setting(&self, name: &str) -> Option<&'a Value> {
        self.header.settings.get(&format!("tokenizer.ggml.{name}"))
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        self.setting(name).and_then(Value::as_bool).unwrap_or(default)
    }

    /// The token that a setting names, with its id.
    pub fn special(&self, name: &str) -> Option<(u32, &'a str)> {
        let id = self.setting(&format!("{name}_token_id")).and_then(Value::as_u64)?;
        let text = self.tokens.get(usize::try_from(id).ok()?)?;
        Some((u32::try_from(id).ok()?, *text))
    }

    /// The template of conversations.
    pub fn chat_template(&self) -> Option<&'a str> {
        self.header.text("tokenizer.chat_template")
    }

    /// The content of the tokenizer.json.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a kind of tokenizer that cannot be built, [`Error::Format`] for one whose parts are missing.
    pub fn json(&self) -> Result<Value> {
        let sentence_piece = match self.header.text("tokenizer.ggml.model") {
            Some("llama") => true,
            Some("gpt2") => false,
            other => {
                return Err(Error::Unsupported {
                    what: format!("{}: tokenizer.ggml.model `{}`", self.path.display(), other.unwrap_or("none")),
                    remedy: "llama and gpt2 can be used".into(),
                });
            }
        };
        let unknown = self.special("unknown").map(|(_, text)| text).or_else(|| {
            let place = self.types.iter().position(|kind| *kind == token_type::UNKNOWN)?;
            Some(self.tokens[place])
        });
        let mut vocabulary = serde_json::Map::new();
        let mut added = Vec::new();
        for (id, (token, kind)) in self.tokens.iter().zip(&self.types).enumerate() {
            if *kind == token_type::UNUSED {
                continue;
            }
            if vocabulary.insert((*token).to_owned(), id.into()).is_some() {
                return Err(Error::format(self.path, format!("`tokenizer.ggml.tokens` has {token:?} twice")));
            }
            if matches!(*kind, token_type::UNKNOWN | token_type::CONTROL | token_type::USER) {
                added.push(json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": *kind != token_type::USER,
                }));
            }
        }
        let mut model = json!({
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary,
        });
        let (normalizer, pre_tokenizer, decoder);
        if sentence_piece {
            let bytes = self.types.contains(&token_type::BYTE);
            model["merges"] = json!(self.merges_by_score()?);
            model["fuse_unk"] = true.into();
            model["byte_fallback"] = bytes.into();
            let (prefix, squeezed) =
                (self.flag("add_space_prefix", true), self.flag("remove_extra_whitespaces", false));
            (normalizer, decoder) = sentence_piece_spaces(prefix, squeezed, bytes);
            pre_tokenizer = Value::Null;
        } else {
            let pre = PreTokenizer::named(self.path, self.header.text("tokenizer.ggml.pre"))?;
            model["merges"] = self.stored_merges()?;
            model["ignore_merges"] = pre.ignores_merges().into();
            (normalizer, pre_tokenizer) = (pre.normalizer(), pre.json());
            decoder = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        }
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": self.template(sentence_piece), "decoder": decoder, "model": model,
        }))
    }

    /// The merges of a byte-level vocabulary, two texts each.
    fn stored_merges(&self) -> Result<Value> {
        let wrong = || Error::format(self.path, "`tokenizer.ggml.merges` is missing or no list of pairs of texts");
        let merges = self.setting("merges").and_then(Value::as_array).ok_or_else(wrong)?;
        let pair = |merge: &Value| {
            let text = merge.as_str()?;
            // A space stands between the two; the first may be one itself.
            let at = text.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at)?;
            Some(json!([&text[..at], &text[at + 1..]]))
        };
        merges.iter().map(pair).collect::<Option<Vec<_>>>().map(Value::Array).ok_or_else(wrong)
    }

    /// All ways to make a token of two others, the best token first: what merging by scores does.
    fn merges_by_score(&self) -> Result<Vec<[&'a str; 2]>> {
        let wrong = || Error::format(self.path, "`tokenizer.ggml.scores` has not one number for each token");
        let scores = self.setting("scores").and_then(Value::as_array).ok_or_else(wrong)?;
        let scores: Vec<f64> = scores.iter().map(Value::as_f64).collect::<Option<_>>().ok_or_else(wrong)?;
        if scores.len() != self.tokens.len() {
            return Err(wrong());
        }
        let normal = |id: &usize| matches!(self.types[*id], token_type::NORMAL | token_type::USER);
        let work = (0..self.tokens.len()).filter(normal).map(|id| self.tokens[id].len() as u64);
        let work = work.fold(0_u64, |sum, bytes| sum.saturating_add(bytes.saturating_mul(bytes)));
        if work > MAX_SPLITS {
            let what = format!("{}: bytes to compare in the parts of its tokens", self.path.display());
            return Err(Error::Limit { what, wanted: work, allowed: MAX_SPLITS });
        }
        let ids: HashMap<&str, usize> = (0..self.tokens.len()).filter(normal).map(|id| (self.tokens[id], id)).collect();
        let mut merges = Vec::new();
        for id in (0..self.tokens.len()).filter(normal) {
            let token = self.tokens[id];
            for (at, _) in token.char_indices().skip(1) {
                let parts = token.split_at(at);
                if let (Some(left), Some(right)) = (ids.get(parts.0), ids.get(parts.1)) {
                    merges.push((scores[id], *left, *right));
                }
            }
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        Ok(merges.into_iter().map(|(_, left, right)| [self.tokens[left], self.tokens[right]]).collect())
    }

    /// The tokens around a text.
    fn template(&self, sentence_piece: bool) -> Value {
        // What llama.cpp does where the file does not say.
        let begins = sentence_piece || self.header.text("tokenizer.ggml.pre") == Some("llama-bpe");
        let around =
            |flag: &str, name: &str, default: bool| self.flag(flag, default).then(|| self.special(name)).flatten();
        let (bos, eos) = (around("add_bos_token", "bos", begins), around("add_eos_token", "eos", false));
        if bos.is_none() && eos.is_none() {
            return Value::Null;
        }
        let text = |id: &str, kind: u8| json!({"Sequence": {"id": id, "type_id": kind}});
        let special = |token: Option<(u32, &str)>, kind: u8| {
            token.map(|(_, text)| json!({"SpecialToken": {"id": text, "type_id": kind}}))
        };
        let around = |id: &str, kind: u8| -> Vec<Value> {
            special(bos, kind).into_iter().chain([text(id, kind)]).chain(special(eos, kind)).collect()
        };
        let pair: Vec<Value> = around("A", 0).into_iter().chain(around("B", 1)).collect();
        let mut tokens = serde_json::Map::new();
        for (id, text) in bos.into_iter().chain(eos) {
            tokens.insert(text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}));
        }
        json!({"type": "TemplateProcessing", "single": around("A", 0), "pair": pair, "special_tokens": tokens})
    }

    /// The content of the tokenizer_config.json.
    pub fn settings(&self) -> Value {
        let text = |name: &str| self.special(name).map(|(_, text)| text);
        let mut settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": text("bos"), "eos_token": text("eos"), "unk_token": text("unknown"),
            "clean_up_tokenization_spaces": false,
        });
        if let Some(template) = self.chat_template() {
            settings["chat_template"] = template.into();
        }
        settings
    }
}

/// What becomes of spaces in vocabularies of SentencePiece, as the `normalizer` and the `decoder` of a tokenizer.json: whether
/// one is put before the text, whether spaces around it go and of several one stays, and whether bytes are tokens.
pub fn sentence_piece_spaces(prefix: bool, squeezed: bool, bytes: bool) -> (Value, Value) {
    let regex =
        |regex: &str, content: &str| json!({"type": "Replace", "pattern": {"Regex": regex}, "content": content});
    let text = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let mut before = Vec::new();
    if squeezed {
        before.extend([regex("\\A +| +\\z", ""), regex(" {2,}", " ")]);
    }
    if prefix {
        before.push(json!({"type": "Prepend", "prepend": SPACE}));
    }
    before.push(text(" ", SPACE));
    let mut after = vec![text(SPACE, " ")];
    if bytes {
        after.push(json!({"type": "ByteFallback"}));
    }
    after.push(json!({"type": "Fuse"}));
    if prefix {
        after.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    (json!({"type": "Sequence", "normalizers": before}), json!({"type": "Sequence", "decoders": after}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(settings: Value) -> Result<Value> {
        let Value::Object(settings) = settings else { panic!("settings have names") };
        let header = GgufHeader { settings, tensors: Vec::new() };
        GgufTokenizer::of(Path::new("model.gguf"), &header)?.json()
    }

    #[test]
    fn long_tokens_are_refused_before_they_are_split() {
        let settings = json!({
            "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["a".repeat(1 << 16)],
            "tokenizer.ggml.scores": [0.0],
        });
        let error = built(settings).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }) && error.to_string().contains("model.gguf"), "{error}");
    }

    #[test]
    fn llama_3_begins_with_its_token_where_the_file_does_not_say() {
        let begins = |pre: &str| {
            let settings = json!({
                "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": ["<b>", "a"],
                "tokenizer.ggml.token_type": [3, 1], "tokenizer.ggml.merges": [], "tokenizer.ggml.bos_token_id": 0,
            });
            !built(settings).unwrap()["post_processor"].is_null()
        };
        assert!(begins("llama-bpe") && !begins("gpt-2"));
    }
}
