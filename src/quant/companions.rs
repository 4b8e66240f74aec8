//! What stands beside the weights of a model.

use std::path::Path;

use crate::error::{Error, Result};
use crate::export::Record;
use crate::io::{companions_of, gguf_of};

/// Copies tokenizer, generation settings, licence and the like; what describes other weight files stays behind, and so
/// does all that lies beside weights given as a file. A GGUF file holds its tokenizer itself.
pub(crate) fn copy_companions(from: &Path, to: &Path) -> Result<()> {
    if let Some(file) = gguf_of(from) {
        for (name, text) in companions_of(&file)? {
            let path = to.join(name);
            std::fs::write(&path, text).map_err(|e| Error::io(&path, e))?;
        }
        return Ok(());
    }
    if !from.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(from).map_err(|e| Error::io(from, e))? {
        let path = entry.map_err(|e| Error::io(from, e))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let text = matches!(name, "vocab.txt" | "merges.txt") || name.to_uppercase().starts_with("LICENSE");
        let companion = matches!(kind, "json" | "model" | "jinja") || text;
        let ours =
            matches!(name, "config.json" | Record::FILE | "quantize_config.json") || name.ends_with(".index.json");
        if companion && !ours && path.is_file() {
            std::fs::copy(&path, to.join(name)).map_err(|e| Error::io(&path, e))?;
        }
    }
    Ok(())
}
