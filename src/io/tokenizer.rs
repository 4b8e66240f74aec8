//! From text to token ids and back, as the model's `tokenizer.json` says.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::file::read_limited;
use super::gguf::{GgufTokenizer, gguf_of, header_of};
use super::json::read_object;
use crate::error::{Error, Result};

/// The file with the tokenizer of a model.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Larger files are refused unread: the largest of published models has about 35 MB.
const MAX_TOKENIZER_BYTES: u64 = 100 << 20;
/// Tokens of the prompt that a [`DecodeStream`] looks back on, enough for any character and its spacing.
const CONTEXT_TOKENS: usize = 8;

/// The tokenizer of a model folder.
#[derive(Debug)]
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
    vocab_size: usize,
    bos_id: Option<u32>,
    eos_ids: Vec<u32>,
}

impl Tokenizer {
    /// Reads what a GGUF file holds, or `tokenizer.json` in `folder`, and the beginning and end tokens from `tokenizer_config.json`,
    /// `config.json` and `generation_config.json`. `vocab_size` is the number of rows of the model's embedding.
    ///
    /// # Errors
    /// [`Error::Io`] if `tokenizer.json` cannot be read, [`Error::Limit`] if it is over 100 MB, [`Error::Format`] if a
    /// file is malformed or if an id lies outside the embedding.
    pub fn read(folder: &Path, vocab_size: usize) -> Result<Self> {
        if let Some(file) = gguf_of(folder) {
            return Self::of_gguf(&file, vocab_size);
        }
        let path = folder.join(TOKENIZER_FILE);
        let bytes = read_limited(&path, MAX_TOKENIZER_BYTES)?;
        let mut tokenizer = Self::parse(&path, &bytes, vocab_size)?;

        let optional = |name: &str| -> Result<Value> {
            let path = folder.join(name);
            if path.exists() { read_object(&path) } else { Ok(Value::Null) }
        };
        let settings = optional("tokenizer_config.json")?;
        let (config, generation) = (optional("config.json")?, optional("generation_config.json")?);

        let token = |key: &str| -> Option<u32> {
            let token = settings[key].as_str().or_else(|| settings[key]["content"].as_str())?;
            tokenizer.inner.token_to_id(token)
        };
        let bos_id = token("bos_token").or_else(|| ids(&config["bos_token_id"]).first().copied());
        let mut eos_ids = ids(&generation["eos_token_id"]);
        eos_ids.extend(ids(&config["eos_token_id"]));
        eos_ids.extend(token("eos_token"));
        eos_ids.sort_unstable();
        eos_ids.dedup();
        tokenizer.check_ids(eos_ids.iter().chain(&bos_id))?;
        (tokenizer.bos_id, tokenizer.eos_ids) = (bos_id, eos_ids);
        Ok(tokenizer)
    }

    /// The tokenizer in a GGUF file.
    fn of_gguf(file: &Path, vocab_size: usize) -> Result<Self> {
        let header = header_of(file)?;
        let stored = GgufTokenizer::of(file, &header)?;
        let mut tokenizer = Self::parse(file, stored.json()?.to_string().as_bytes(), vocab_size)?;
        let id = |name: &str| stored.special(name).map(|(id, _)| id);
        tokenizer.bos_id = id("bos");
        tokenizer.eos_ids = ["eos", "eot", "eom"].into_iter().filter_map(id).collect();
        tokenizer.eos_ids.sort_unstable();
        tokenizer.eos_ids.dedup();
        tokenizer.check_ids(tokenizer.eos_ids.iter().chain(&tokenizer.bos_id))?;
        Ok(tokenizer)
    }

    /// The tokenizer that the text of a `tokenizer.json` describes, without beginning and end tokens of its own.
    /// `path` serves the messages only.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(path: &Path, bytes: &[u8], vocab_size: usize) -> Result<Self> {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|e| Error::format(path, e.to_string()))?;
        let mut inner = guarded(path, || tokenizers::Tokenizer::from_bytes(bytes))?;
        // Settings for batches of training text, stored in some files; a whole text is wanted here.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| Error::format(path, e.to_string()))?;
        let tokenizer = Self { path: path.to_path_buf(), inner, vocab_size, bos_id: None, eos_ids: Vec::new() };
        tokenizer.check_ids(tokenizer.inner.get_vocab(true).values())?;
        // The template may name tokens that no vocabulary has; it is tried once, on any text.
        tokenizer.encode("a", true)?;
        Ok(tokenizer)
    }

    fn check_ids<'a>(&self, ids: impl IntoIterator<Item = &'a u32>) -> Result<()> {
        match ids.into_iter().max() {
            Some(max) if *max as usize >= self.vocab_size => {
                let detail = format!(
                    "token id {max} is outside the model's embedding of {} rows: tokenizer and weights do not belong together",
                    self.vocab_size
                );
                Err(Error::format(&self.path, detail))
            }
            _ => Ok(()),
        }
    }

    /// The ids of `text`. With `bos` the tokens that the tokenizer's own template puts around a text are added, for
    /// most models a beginning token; without it there are only those of the text itself. (`add_bos_token` in
    /// `tokenizer_config.json` has no say: the programs that these files are made for follow the template too.)
    ///
    /// # Errors
    /// [`Error::Format`] if the tokenizer cannot encode the text or gives an id outside the embedding.
    pub fn encode(&self, text: &str, bos: bool) -> Result<Vec<u32>> {
        let encoding = guarded(&self.path, || self.inner.encode_fast(text, bos))?;
        self.check_ids(encoding.get_ids())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `ids`, beginning and end tokens and their like left out.
    ///
    /// # Errors
    /// [`Error::Format`] if the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        guarded(&self.path, || self.inner.decode(ids, true))
    }

    /// Decodes token by token the continuation of `prompt`.
    pub fn decode_stream(&self, prompt: &[u32]) -> DecodeStream<'_> {
        let ids = prompt[prompt.len().saturating_sub(CONTEXT_TOKENS)..].to_vec();
        DecodeStream { tokenizer: self, told: ids.len(), ids }
    }

    /// The token that begins a text.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The tokens that end a text, ascending.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }
}

/// Runs a function of the tokenizers crate. It has asserts that a malformed file can reach; a panic becomes an error
/// like any other, since it leaves nothing half-changed: a tokenizer under construction is dropped, a finished one
/// is only read.
fn guarded<T>(path: &Path, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    match std::panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|e| Error::format(path, format!("tokenizer: {e}"))),
        Err(_) => Err(Error::format(path, "tokenizer: its parts do not fit together")),
    }
}

/// The ids in a JSON number or list of numbers; anything else counts as none.
fn ids(value: &Value) -> Vec<u32> {
    let id = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(list) => list.iter().filter_map(id).collect(),
        value => id(value).into_iter().collect(),
    }
}

/// Text that grows with each token, given out at character boundaries.
#[derive(Debug)]
pub struct DecodeStream<'t> {
    tokenizer: &'t Tokenizer,
    /// Tokens given out last, for context, and those not yet given out.
    ids: Vec<u32>,
    /// How many of them are given out.
    told: usize,
}

impl DecodeStream<'_> {
    /// Adds a token and returns the text that it completes: empty while a character is still in pieces.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let (text, told) = self.new_text()?;
        if text.len() <= told || text.ends_with(char::REPLACEMENT_CHARACTER) || !text.is_char_boundary(told) {
            return Ok(String::new());
        }
        self.ids.drain(..self.told);
        self.told = self.ids.len();
        Ok(text[told..].to_string())
    }

    /// The rest, with replacement characters where the last character never became whole.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn finish(self) -> Result<String> {
        let (text, told) = self.new_text()?;
        Ok(text.get(told..).unwrap_or_default().to_string())
    }

    /// The text of all kept tokens, and how many of its bytes are given out already.
    fn new_text(&self) -> Result<(String, usize)> {
        let told = self.tokenizer.decode(&self.ids[..self.told])?;
        Ok((self.tokenizer.decode(&self.ids)?, told.len()))
    }
}
