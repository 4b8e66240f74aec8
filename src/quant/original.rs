//! The model that is quantized, as far as it is known: any weights in safetensors, with or without a configuration.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::eval::{self, EvalRequest};
use crate::io::{CONFIG_FILE, Checkpoint, ModelConfig, TOKENIZER_FILE, gguf_of, read_config};

/// Tensors that a note names.
const NAMED: usize = 3;

/// The whole `config.json` of a model; an empty one for a folder without it, and for weights given as a file: what
/// lies beside a file need not belong to it.
///
/// # Errors
/// Those of [`read_config`].
pub(super) fn config(model: &Path) -> Result<Value> {
    if let Some(file) = gguf_of(model) {
        let what = format!("quantizing {}, a GGUF file,", file.display());
        return Err(Error::Unsupported { what, remedy: "give the original, in safetensors".into() });
    }
    if has(model, CONFIG_FILE) { read_config(model) } else { Ok(Value::Object(Map::new())) }
}

/// Makes sure that the quality that was asked for can be measured. Where none was, a warning if it could not be.
///
/// # Errors
/// Those of [`eval::check`]; [`Error::Unsupported`] for a model that cannot be run.
pub(super) fn check_quality(model: &Path, quality: Option<&EvalRequest>) -> Result<Option<String>> {
    let runs = can_run(model);
    match (quality, runs) {
        (None, Ok(())) => Ok(None),
        (None, Err(why)) => {
            let own = if has(model, CONFIG_FILE) {
                ""
            } else {
                "; the config.json written tells only how the weights are quantized"
            };
            Ok(Some(format!("warning: {} cannot be evaluated: {why}{own}", model.display())))
        }
        (Some(quality), Ok(())) => eval::check(model, quality).map(|()| None),
        (Some(_), Err(Error::Unsupported { what, remedy })) => Err(Error::Unsupported {
            what: format!("evaluating {} ({what})", model.display()),
            remedy: format!("leave the text out to quantize it unmeasured; {remedy}"),
        }),
        (Some(_), Err(other)) => Err(other),
    }
}

/// Whether the model has what running it takes.
fn can_run(model: &Path) -> Result<()> {
    let lacks = |what: &str, remedy: &str| Err(Error::Unsupported { what: what.into(), remedy: remedy.into() });
    if !model.is_dir() {
        return lacks("a file of weights alone", "give the folder with config.json and tokenizer");
    }
    if !has(model, CONFIG_FILE) {
        return lacks("a folder without config.json", "add the config.json of the model");
    }
    ModelConfig::read(model)?;
    match has(model, TOKENIZER_FILE) {
        true => Ok(()),
        false => lacks("a folder without tokenizer.json", "add the tokenizer.json of the model"),
    }
}

/// Whether there is a folder with a configuration.
pub(super) fn has_config(model: &Path) -> bool {
    model.is_dir() && has(model, CONFIG_FILE)
}

/// Whether the folder has the file, be it a link that leads nowhere: that is an error to be told of, not an absence.
fn has(folder: &Path, file: &str) -> bool {
    !matches!(folder.join(file).symlink_metadata(), Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

/// Says which weights are left because they are no matrices: convolutions, and experts stored as one tensor.
pub(super) fn no_matrices(checkpoint: &Checkpoint) -> Option<String> {
    let weights = checkpoint.infos().filter(|info| info.shape.len() > 2 && info.dtype.dtype().is_some());
    let weights: Vec<_> = weights.filter(|info| !info.name.ends_with("bias")).collect();
    let bytes: u64 = weights.iter().map(|info| info.bytes() as u64).sum();
    let mut names = weights.iter().take(NAMED).map(|info| info.name.as_str()).collect::<Vec<_>>().join(", ");
    if weights.len() > NAMED {
        names += ", …";
    }
    let share = 100.0 * bytes as f64 / checkpoint.total_bytes().max(1) as f64;
    (!weights.is_empty()).then(|| {
        let count = weights.len();
        format!("note: {count} tensor(s) of more than two axes kept, {share:.1} % of the model's bytes: {names}")
    })
}
