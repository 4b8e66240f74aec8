//! Which files of a repository make a model, and which ones a snapshot has.

use std::path::Path;

use crate::error::{Error, Result};
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

/// More folders in each other than any dataset has.
const MAX_DEPTH: usize = 16;

/// The files of a snapshot as the repository names them, with their sizes, by name.
pub(super) fn listing(snapshot: &Path) -> Result<Vec<(String, u64)>> {
    fn walk(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<(String, u64)>) -> Result<()> {
        for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
            let path = entry.map_err(|e| Error::io(folder, e))?.path();
            // Links are followed; one that leads nowhere is a file that is not there.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let name = path.file_name().and_then(|name| name.to_str()).map(|name| format!("{prefix}{name}"));
            match name {
                Some(name) if metadata.is_file() => files.push((name, metadata.len())),
                Some(name) if depth > 0 => walk(&path, &format!("{name}/"), depth - 1, files)?,
                _ => {}
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(snapshot, "", MAX_DEPTH, &mut files)?;
    files.sort();
    Ok(files)
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
