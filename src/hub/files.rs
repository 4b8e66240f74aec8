//! Which files of a repository make a model.

use std::path::Path;

use crate::error::Result;
use crate::io::{INDEX_FILE, Index, SINGLE_FILE};

/// What a snapshot lacks that no model can do without.
pub(super) fn missing(snapshot: &Path) -> Result<Option<String>> {
    if snapshot.join(SINGLE_FILE).exists() {
        return Ok(None);
    }
    let path = snapshot.join(INDEX_FILE);
    if !path.exists() {
        return Ok(Some(SINGLE_FILE.to_owned()));
    }
    let index = Index::read(&path)?;
    Ok(index.files().into_iter().find(|shard| !snapshot.join(shard).exists()).map(str::to_owned))
}

/// Whether a file of a repository is of use beside the weights: configuration, tokenizer, licence.
#[cfg(feature = "hub")]
pub(super) fn is_companion(name: &str) -> bool {
    const NAMES: [&str; 16] = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "tokenizer.model",
        "spiece.model",
        "chat_template.jinja",
        "chat_template.json",
        "quantize_config.json",
        "bitsmith.json",
        "NOTICE",
    ];
    NAMES.contains(&name) || (name.to_uppercase().starts_with("LICENSE") && is_plain(name))
}

/// Whether this names a file within a repository, and nothing outside of it on any system.
pub(super) fn is_plain(path: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '\\' | ':');
    !path.contains(odd) && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}
