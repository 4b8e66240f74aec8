//! GGUF: one file with a header of settings and all tensors. What is read of it looks like a model folder: a config.json, a
//! tokenizer.json, and tensors under the names of the model's family.

mod config;
mod header;
mod names;
mod pre;
pub mod rows;
mod tokenizer;
mod view;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use header::{ALIGNMENT, ALIGNMENT_KEY, GgufHeader, GgufTensor, TYPES};
pub use names::GgufArchitecture;
pub use pre::PreTokenizer;
pub use tokenizer::{GgufTokenizer, SPACE, sentence_piece_spaces, token_type};
pub use view::{Place, tensors};

use super::index::{INDEX_FILE, SINGLE_FILE};
use super::map::Map;
use crate::error::Result;

/// The file name under which a folder's weights are found.
pub const GGUF_FILE: &str = "model.gguf";
/// What a file begins with.
const MAGIC: &[u8; 4] = b"GGUF";

/// Whether a path is a GGUF file, by its first bytes.
pub fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == MAGIC
}

/// The GGUF file that a model is: the one that `model` names, or that of a folder without other weights.
pub fn gguf_of(model: &Path) -> Option<PathBuf> {
    if model.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) && !model.is_dir() {
        return Some(model.to_path_buf());
    }
    let other = [SINGLE_FILE, INDEX_FILE].iter().any(|file| model.join(file).exists());
    Some(model.join(GGUF_FILE)).filter(|file| !other && file.is_file())
}

/// The header of a file.
///
/// # Errors
/// Those of reading and of [`GgufHeader::parse`].
pub fn header_of(file: &Path) -> Result<GgufHeader> {
    GgufHeader::parse(file, Map::open(file)?.bytes())
}

/// The config.json that a file stands for.
///
/// # Errors
/// Those of reading; [`crate::Error::Unsupported`] for an architecture that cannot be run.
pub fn config_of(file: &Path) -> Result<Value> {
    header_of(file)?.config(file)
}

/// The files beside the weights that a folder of the same model has, by name.
///
/// # Errors
/// As [`config_of`].
pub fn companions_of(file: &Path) -> Result<Vec<(&'static str, String)>> {
    let header = header_of(file)?;
    if !header.settings.contains_key("tokenizer.ggml.tokens") {
        return Ok(Vec::new());
    }
    let tokenizer = GgufTokenizer::of(file, &header)?;
    let text = |value: Value| format!("{value:#}\n");
    Ok(vec![("tokenizer.json", text(tokenizer.json()?)), ("tokenizer_config.json", text(tokenizer.settings()))])
}
