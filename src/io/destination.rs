//! What may stand where an output is to go.

use std::fs;
use std::path::Path;

use super::config::CONFIG_FILE;
use crate::error::{Error, Result};

/// Refuses a destination that exists, or with `force` one that is no model folder, or no file of the kind of `file`.
pub(super) fn check_destination(destination: &Path, file: Option<&str>, force: bool) -> Result<()> {
    let refuse = |detail: &str| Err(Error::config("output folder", format!("{} {detail}", destination.display())));
    let metadata = match fs::symlink_metadata(destination) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(destination, e)),
    };
    if metadata.is_symlink() {
        return refuse("is a symbolic link; give the folder itself");
    }
    match file {
        None if !metadata.is_dir() => return refuse("is a file; give another name"),
        Some(_) if !metadata.is_file() => return refuse("is a folder; give the name of a file"),
        _ => {}
    }
    if !force {
        return refuse("exists; give another name, or replace it with --force");
    }
    if file.is_some() {
        return match super::is_gguf(destination) {
            true => Ok(()),
            false => refuse("is no GGUF file; --force does not delete it: remove it yourself"),
        };
    }
    let (mut config, mut weights, mut empty) = (false, false, true);
    let (mut graph, mut data) = (false, false);
    for entry in fs::read_dir(destination).map_err(|e| Error::io(destination, e))? {
        let name = entry.map_err(|e| Error::io(destination, e))?.file_name();
        config |= name == CONFIG_FILE;
        weights |= Path::new(&name).extension().is_some_and(|e| e == "safetensors");
        (config, weights) = if name == super::GGUF_FILE { (true, true) } else { (config, weights) };
        graph |= Path::new(&name).extension().is_some_and(|e| e == "onnx");
        data |= Path::new(&name).extension().is_some_and(|e| e == "data");
        empty = false;
    }
    if empty || (config && weights) || (graph && data) {
        return Ok(());
    }
    refuse(
        "is no model folder (config.json and safetensors, a GGUF file, or ONNX graphs with their data); --force does not delete it: remove it yourself",
    )
}
