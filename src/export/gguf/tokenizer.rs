//! The tokenizer of a model as settings of a GGUF file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::metadata::{Setting, Settings};
use crate::error::{Error, Result};
use crate::io::{
    GGUF_SPACE, ModelConfig, PreTokenizer, TOKENIZER_FILE, companions_of, gguf_of, read_limited, sentence_piece_spaces,
    token_type,
};

const SETTINGS_FILE: &str = "tokenizer_config.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";
/// The setting that several spaces in a row become one.
pub(super) const SQUEEZED: &str = "tokenizer.ggml.remove_extra_whitespaces";
/// Larger files are refused unread.
const MAX_BYTES: u64 = 100 << 20;
/// The score of a token that no merge makes: after all others.
const UNREACHED: f32 = -1e9;

/// The tokenizer files of a model.
struct Files {
    path: PathBuf,
    tokenizer: Value,
    settings: Value,
    template: Option<String>,
}

/// The settings that hold the tokenizer of the model in `folder`; for one without a tokenizer those that say so.
///
/// # Errors
/// Those of reading; [`Error::Unsupported`] for a tokenizer that GGUF has no words for.
pub(super) fn settings(folder: &Path, config: &ModelConfig) -> Result<Settings> {
    match Files::read(folder)? {
        Some(files) => files.settings(config),
        None => Ok(vec![none()]),
    }
}

/// The setting of a file without a tokenizer.
pub(super) fn none() -> (String, Setting) {
    ("tokenizer.ggml.model".to_owned(), Setting::text("no_vocab"))
}

/// A vocabulary: text, kind and score by id.
struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<u64>,
    scores: Vec<f32>,
}

impl Files {
    fn read(folder: &Path) -> Result<Option<Self>> {
        let parse = |path: &Path, bytes: &[u8]| -> Result<Value> {
            serde_json::from_slice(bytes).map_err(|e| Error::format(path, e.to_string()))
        };
        if let Some(file) = gguf_of(folder) {
            let files = companions_of(&file)?;
            let text = |name: &str| files.iter().find(|(file, _)| *file == name).map(|(_, text)| text.as_bytes());
            let Some(tokenizer) = text(TOKENIZER_FILE) else { return Ok(None) };
            let settings = text(SETTINGS_FILE).map_or(Ok(Value::Null), |text| parse(&file, text))?;
            return Ok(Some(Self { tokenizer: parse(&file, tokenizer)?, path: file, settings, template: None }));
        }
        let optional = |name: &str| -> Result<Option<Vec<u8>>> {
            let path = folder.join(name);
            path.exists().then(|| read_limited(&path, MAX_BYTES)).transpose()
        };
        let path = folder.join(TOKENIZER_FILE);
        let Some(tokenizer) = optional(TOKENIZER_FILE)? else { return Ok(None) };
        let settings = optional(SETTINGS_FILE)?;
        let settings = settings.map_or(Ok(Value::Null), |bytes| parse(&folder.join(SETTINGS_FILE), &bytes))?;
        let template = optional(TEMPLATE_FILE)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Some(Self { tokenizer: parse(&path, &tokenizer)?, path, settings, template }))
    }

    fn unsupported(&self, what: &str) -> Error {
        Error::Unsupported {
            what: format!("{}: {what} in a GGUF file", self.path.display()),
            remedy:
                "byte pairs over bytes or over SentencePiece's spaces can be written; remove the tokenizer to write \
                     the weights alone"
                    .into(),
        }
    }

    fn settings(&self, config: &ModelConfig) -> Result<Settings> {
        let model = &self.tokenizer["model"];
        if model["type"].as_str().is_some_and(|kind| kind != "BPE") {
            return Err(self.unsupported(&format!("a tokenizer of type {}", model["type"])));
        }
        let merges = self.merges()?;
        let mut vocabulary = self.vocabulary(config.vocab_size)?;
        let mut settings: Settings = Vec::new();
        let mut set = |name: &str, value| settings.push((format!("tokenizer.ggml.{name}"), value));
        if let Some(pre) = PreTokenizer::of(&self.tokenizer) {
            set("model", Setting::text("gpt2"));
            set("pre", Setting::text(pre.name()));
            set("merges", Setting::Texts(merges.iter().map(|[left, right]| format!("{left} {right}")).collect()));
        } else {
            let Spaces { literal, prefix, squeezed } = self.spaces()?;
            set("model", Setting::text("llama"));
            set("pre", Setting::text("default"));
            vocabulary.score(&merges);
            if literal {
                let spaced = |token: &mut String| *token = token.replace(' ', GGUF_SPACE);
                vocabulary.tokens.iter_mut().for_each(spaced);
            }
            set("scores", Setting::F32s(vocabulary.scores.clone()));
            set("add_space_prefix", Setting::Bool(prefix));
            set("remove_extra_whitespaces", Setting::Bool(squeezed));
        }
        let [before, after] = self.around()?;
        let named = |field: &str| {
            let token = &self.settings[field];
            token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
        };
        let id = |token: Option<String>| {
            let place = vocabulary.tokens.iter().position(|known| Some(known) == token.as_ref())?;
            u32::try_from(place).ok()
        };
        let bos = id(before.clone().or_else(|| named("bos_token"))).or(config.bos_token_id);
        let eos = id(after.clone().or_else(|| named("eos_token"))).or(config.eos_token_ids.last().copied());
        let unknown = id(model["unk_token"].as_str().map(str::to_owned).or_else(|| named("unk_token")));
        for (name, token) in [("bos", bos), ("eos", eos), ("unknown", unknown), ("padding", id(named("pad_token")))] {
            if let Some(token) = token {
                set(&format!("{name}_token_id"), Setting::U32(token));
            }
        }
        set("add_bos_token", Setting::Bool(before.is_some()));
        set("add_eos_token", Setting::Bool(after.is_some()));
        let types = vocabulary.types.iter().map(|kind| i32::try_from(*kind).unwrap_or_default()).collect();
        set("token_type", Setting::I32s(types));
        set("tokens", Setting::Texts(vocabulary.tokens));
        let template = self.settings["chat_template"].as_str().map(str::to_owned).or_else(|| self.template.clone());
        settings.extend(template.map(|text| ("tokenizer.chat_template".to_owned(), Setting::Text(text))));
        Ok(settings)
    }

    fn merges(&self) -> Result<Vec<[String; 2]>> {
        let pair = |merge: &Value| match merge {
            Value::String(text) => text.split_once(' ').map(|(left, right)| [left.to_owned(), right.to_owned()]),
            Value::Array(pair) => match &pair[..] {
                [Value::String(left), Value::String(right)] => Some([left.clone(), right.clone()]),
                _ => None,
            },
            _ => None,
        };
        let merges = self.tokenizer["model"]["merges"].as_array().map(Vec::as_slice).unwrap_or_default();
        let wrong = || Error::format(&self.path, "`model.merges` is no list of pairs");
        merges.iter().map(|merge| pair(merge).ok_or_else(wrong)).collect()
    }

    /// All tokens, those that are added included, with a filler for each row of the embedding that has none.
    fn vocabulary(&self, rows: usize) -> Result<Vocabulary> {
        let wrong = |detail: String| Error::format(&self.path, detail);
        let mut tokens: Vec<Option<(String, u64)>> = vec![None; rows];
        let mut place = |token: &str, id: &Value, kind: u64| {
            let at = id.as_u64().and_then(|id| usize::try_from(id).ok()).and_then(|id| tokens.get_mut(id));
            let at =
                at.ok_or_else(|| wrong(format!("token {token:?} has the id {id}; the embedding has {rows} rows")))?;
            *at = Some((token.to_owned(), kind));
            Ok::<_, Error>(())
        };
        let model = &self.tokenizer["model"];
        let bytes = model["byte_fallback"].as_bool().unwrap_or(false);
        for (token, id) in model["vocab"].as_object().into_iter().flatten() {
            let is_byte = bytes && token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
            place(token, id, if is_byte { token_type::BYTE } else { token_type::NORMAL })?;
        }
        for added in self.tokenizer["added_tokens"].as_array().into_iter().flatten() {
            let Some(token) = added["content"].as_str() else { continue };
            let kind = match added["special"].as_bool() {
                _ if model["unk_token"].as_str() == Some(token) => token_type::UNKNOWN,
                Some(true) => token_type::CONTROL,
                _ => token_type::USER,
            };
            place(token, &added["id"], kind)?;
        }
        let filled = tokens.into_iter().enumerate();
        let filled = filled.map(|(id, token)| token.unwrap_or_else(|| (format!("[PAD{id}]"), token_type::UNUSED)));
        let (tokens, types): (Vec<_>, Vec<_>) = filled.unzip();
        let scores = vec![0.0; tokens.len()];
        Ok(Vocabulary { tokens, types, scores })
    }

    /// What the tokenizer does with spaces, if it is of SentencePiece's kind or does nothing at all.
    fn spaces(&self) -> Result<Spaces> {
        let (normalizer, pre) = (&self.tokenizer["normalizer"], &self.tokenizer["pre_tokenizer"]);
        if normalizer.is_null() && pre["type"] == "Metaspace" && pre["split"] == Value::Bool(false) {
            let prefix = pre["prepend_scheme"] != "never";
            return Ok(Spaces { literal: false, prefix, squeezed: false });
        }
        if !pre.is_null() {
            return Err(self.unsupported(&format!("the pre_tokenizer {}", pre["type"])));
        }
        if normalizer.is_null() {
            return Ok(Spaces { literal: true, prefix: false, squeezed: false });
        }
        let known = [(true, false), (true, true), (false, false), (false, true)];
        let found = known.into_iter().find(|(prefix, squeezed)| {
            sentence_piece_spaces(*prefix, *squeezed, false).0 == *normalizer
                || !prefix
                    && json!({"type": "Sequence", "normalizers": [normalizer]})
                        == sentence_piece_spaces(false, *squeezed, false).0
        });
        match found {
            Some((prefix, squeezed)) => Ok(Spaces { literal: false, prefix, squeezed }),
            None => Err(self.unsupported("the normalizer of its tokenizer")),
        }
    }

    /// The tokens that are put before and after a text.
    fn around(&self) -> Result<[Option<String>; 2]> {
        fn template(processor: &Value) -> Option<&Value> {
            match processor["type"].as_str() {
                Some("TemplateProcessing") => Some(processor),
                Some("Sequence") => processor["processors"].as_array()?.iter().find_map(template),
                _ => None,
            }
        }
        let Some(template) = template(&self.tokenizer["post_processor"]) else { return Ok([None, None]) };
        let pieces = template["single"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = pieces.iter().position(|piece| piece.get("Sequence").is_some());
        let (before, after) = pieces.split_at(text.unwrap_or(0));
        let one = |pieces: &[Value]| match pieces {
            [] => Ok(None),
            [piece] => Ok(piece["SpecialToken"]["id"].as_str().map(str::to_owned)),
            _ => Err(self.unsupported("several tokens on one side of a text")),
        };
        Ok([one(before)?, one(after.get(1..).unwrap_or_default())?])
    }
}

/// What happens to spaces.
struct Spaces {
    /// They stand in the vocabulary as they are.
    literal: bool,
    /// One is put before the text.
    prefix: bool,
    /// Those around the text go, and of several only one stays.
    squeezed: bool,
}

impl Vocabulary {
    /// Scores that merge in the order of `merges`: the earlier the merge that makes a token, the higher its score.
    fn score(&mut self, merges: &[[String; 2]]) {
        let mut ranks = HashMap::<String, usize>::new();
        for (rank, [left, right]) in merges.iter().enumerate() {
            ranks.entry(format!("{left}{right}")).or_insert(rank);
        }
        // Ranks as small numbers, which f32 holds exactly: the n-th token that is made.
        let mut made: Vec<usize> = ranks.values().copied().collect();
        made.sort_unstable();
        for ((token, kind), score) in self.tokens.iter().zip(&self.types).zip(&mut self.scores) {
            *score = match ranks.get(token) {
                #[allow(clippy::cast_precision_loss, reason = "vocabularies are below 2^24")]
                Some(rank) => -(made.partition_point(|other| other < rank) as f32),
                None if matches!(*kind, token_type::NORMAL) => UNREACHED,
                None => 0.0,
            };
        }
    }
}
