//! Plans as files, and whether they are for a model.

use std::path::Path;

use super::LinearLayer;
use crate::error::{Error, Result};
use crate::io::{read_limited, replace};
use crate::scheme::Plan;

/// Larger files are refused unread: a plan of ten thousand layers has less than 1 MB.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a plan: `{"layers": {"model.layers.0.mlp.up_proj": "w4g128s"}}`.
///
/// ```
/// use bitsmith::quant::{read_plan, write_plan};
/// use bitsmith::scheme::Plan;
/// # let folder = tempfile::tempdir().unwrap();
/// # let file = folder.path().join("plan.json");
/// let plan: Plan = [("model.layers.0.mlp.up_proj", "w2g32s".parse()?)].into_iter().collect();
/// write_plan(&file, &plan)?;
/// assert_eq!(read_plan(&file)?, plan);
/// std::fs::write(&file, r#"{"layers": {"up_proj": "w5g32s"}}"#).unwrap();
/// assert!(read_plan(&file).unwrap_err().to_string().contains("up_proj: bits: 5 is not one of"));
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Limit`] if it is over 16 MiB, [`Error::Format`] that names the layer or
/// field at fault.
pub fn read_plan(file: &Path) -> Result<Plan> {
    parse_plan(file, &read_limited(file, MAX_BYTES)?)
}

/// As [`read_plan`], from the text of a plan; `file` serves the messages only.
///
/// # Errors
/// [`Error::Format`] that names the layer or field at fault.
pub fn parse_plan(file: &Path, bytes: &[u8]) -> Result<Plan> {
    let plan: Plan = serde_json::from_slice(bytes).map_err(|e| {
        let example = r#"{"layers": {"model.layers.0.mlp.up_proj": "w4g128s"}}"#;
        Error::format(file, format!("is no plan such as {example}: {e}"))
    })?;
    if plan.is_empty() {
        return Err(Error::format(file, "layers: it names none; every layer would be kept"));
    }
    Ok(plan)
}

/// Writes a plan that [`read_plan`] reads, in one step: a plan that was there is replaced.
///
/// # Errors
/// [`Error::Io`].
pub fn write_plan(file: &Path, plan: &Plan) -> Result<()> {
    let text = serde_json::to_string_pretty(plan).map_err(|e| Error::format(file, e.to_string()))?;
    replace(file, (text + "\n").as_bytes())
}

/// Makes sure, before the work, that a plan can be written to a file. An earlier plan will be replaced; anything else will not.
///
/// # Errors
/// [`Error::Config`] that says why not.
pub fn check_plan_file(file: &Path) -> Result<()> {
    let refuse = |detail: &str| Err(Error::config("plan_out", format!("{} {detail}", file.display())));
    if file.exists() {
        return match read_plan(file) {
            Ok(_) => Ok(()),
            Err(_) => refuse("exists and is no plan; give another name"),
        };
    }
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match tempfile::tempfile_in(folder) {
        Ok(_) if file.file_name().is_some() => Ok(()),
        Ok(_) => refuse("names no file"),
        Err(error) => refuse(&format!("cannot be written: {error}")),
    }
}

/// Refuses a plan for another model.
pub(super) fn check_paths(plan: &Plan, layers: &[LinearLayer], model: &Path) -> Result<()> {
    let Some((path, _)) = plan.iter().find(|(path, _)| !layers.iter().any(|layer| layer.path == *path)) else {
        return Ok(());
    };
    let nearest = layers.iter().map(|layer| layer.path.as_str()).min_by_key(|name| distance(path, name));
    let nearest = nearest.map_or_else(String::new, |name| format!("; the nearest is {name}"));
    Err(Error::config("plan", format!("{path} is no linear layer of {}{nearest}", model.display())))
}

/// How many characters are to be changed, added or left out to make one name of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_near_that_differ_little() {
        for (a, b, edits) in
            [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("q_proj", "qproj", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (edits, edits), "{a} {b}");
        }
    }

    #[test]
    fn a_plan_for_another_model_names_the_nearest_layer() {
        let layer = |path: &str| LinearLayer { path: path.into(), rows: 4, cols: 4, kept: false, conv1d: false };
        let layers = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"].map(layer);
        let plan = |path: &str| [(path, "w4g32s".parse().expect("a scheme"))].into_iter().collect::<Plan>();
        check_paths(&plan("model.layers.0.mlp.up_proj"), &layers, "m".as_ref()).expect("its own");
        let error = check_paths(&plan("layers.0.self_attn.qproj"), &layers, "m".as_ref()).expect_err("no such layer");
        assert_eq!(
            error.to_string(),
            "plan: layers.0.self_attn.qproj is no linear layer of m; the nearest is model.layers.0.self_attn.q_proj"
        );
    }
}
