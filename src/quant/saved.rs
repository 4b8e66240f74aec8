//! What a run has finished, kept so that another run can go on with it.

use std::collections::HashSet;
use std::fmt::Display;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::export::{BlockRecord, LayerRecord, Method};
use crate::io::{CheckpointWriter, Digest, Journal, Recovered, ShardPlan, SourceFile, Staging};
use crate::scheme::Plan;

/// Everything that decides the bytes of a result. Where the text of an evaluation comes from is not part of it: that
/// is measured anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    /// Version of this crate.
    pub(super) bitsmith: String,
    /// Method and settings.
    pub(super) method: Method,
    /// The scheme of each layer; what is not in it is kept.
    pub(super) plan: Plan,
    /// File format.
    pub(super) format: String,
    /// Largest weight file.
    pub(super) shard_size: u64,
    /// Where it runs: codes are the same on every device, the last digits of errors are not.
    pub(super) device: String,
    /// Of the model's config.json.
    pub(super) config: Digest,
    /// Of the sequences that the method sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) calibration: Option<Digest>,
    /// The weights.
    pub(super) files: Vec<SourceFile>,
}

impl Fingerprint {
    /// What is not the same now, one reason each.
    fn differences(&self, now: &Self) -> Vec<String> {
        fn changed<T: PartialEq + Display>(what: &str, was: &T, is: &T) -> Option<String> {
            (was != is).then(|| format!("{what} was {was} and is {is}"))
        }
        let mut reasons: Vec<String> = [
            changed("the version of bitsmith", &self.bitsmith, &now.bitsmith),
            changed("the method", &self.method.name, &now.method.name),
            changed("the format", &self.format, &now.format),
            changed("the shard size", &self.shard_size, &now.shard_size),
            changed("the device", &self.device, &now.device),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.method.name == now.method.name {
            reasons.extend(settings(&self.method.settings, &now.method.settings));
        }
        let kept = |plan: &Plan, path| plan.get(path).map_or_else(|| "kept".to_owned(), |scheme| scheme.to_string());
        let paths = self.plan.iter().chain(now.plan.iter()).map(|(path, _)| path);
        reasons.extend(paths.filter_map(|path| changed(path, &kept(&self.plan, path), &kept(&now.plan, path))).take(1));
        if self.config != now.config {
            reasons.push("config.json of the model was changed".to_owned());
        }
        if self.calibration != now.calibration {
            reasons.push("the calibration data is another".to_owned());
        }
        reasons.extend(files(&self.files, &now.files));
        reasons
    }
}

/// The settings of a method that differ.
fn settings(was: &Value, is: &Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let (was, is) = (was.as_object().unwrap_or(&empty), is.as_object().unwrap_or(&empty));
    let names: HashSet<_> = was.keys().chain(is.keys()).collect();
    let mut reasons: Vec<_> = names
        .into_iter()
        .filter(|name| was.get(*name) != is.get(*name))
        .map(|name| {
            let [was, is] = [was, is].map(|all| all.get(name).cloned().unwrap_or_default());
            format!("{name} was {was} and is {is}")
        })
        .collect();
    reasons.sort();
    reasons
}

/// The first file that is not as it was.
fn files(was: &[SourceFile], is: &[SourceFile]) -> Option<String> {
    if let Some((old, _)) = was.iter().zip(is).find(|(old, new)| old != new) {
        return Some(format!("{} of the model was changed", old.name));
    }
    (was.len() != is.len()).then(|| format!("the model had {} weight files and has {}", was.len(), is.len()))
}

/// One job of a method, or one tensor that is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Finished {
    /// Names in the original model.
    pub(super) sources: Vec<String>,
    /// The layers among them that are quantized.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) layers: Vec<LayerRecord>,
    /// The block that they are, for a method that works by blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) block: Option<BlockRecord>,
    /// What was written, by name.
    pub(super) tensors: Vec<(String, Digest)>,
}

/// A run that was begun, by this process or an earlier one.
pub(super) struct Saved {
    pub(super) journal: Journal,
    pub(super) writer: CheckpointWriter,
    pub(super) finished: Vec<Finished>,
    pub(super) notes: Vec<String>,
}

impl Saved {
    /// Starts, or with `resume` goes on: what an earlier run finished counts where the files hold what it wrote.
    pub(super) fn open(staging: &Staging, plan: ShardPlan, fingerprint: &Fingerprint, resume: bool) -> Result<Self> {
        let path = staging.journal();
        let mut notes = Vec::new();
        if !path.exists() {
            if resume {
                notes.push("note: there was nothing to resume; it started from the beginning".to_owned());
            }
            clear(staging, |_| false)?;
            let writer = CheckpointWriter::create(staging.path(), plan)?;
            let journal = Journal::create::<Finished>(&path, fingerprint, &[])?;
            staging.sync()?;
            return Ok(Self { journal, writer, finished: Vec::new(), notes });
        }
        let Recovered { head, entries, damaged } = Journal::read::<Value, Finished>(&path)?;
        check(staging, head, fingerprint)?;
        clear(staging, |name| plan.shards().iter().any(|shard| shard.file == name))?;
        let mut writer = CheckpointWriter::resume(staging.path(), plan)?;
        let mut finished = Vec::with_capacity(entries.len());
        for entry in entries {
            match damage(&writer, &entry)? {
                None => {
                    entry.tensors.iter().for_each(|(name, _)| writer.count(name));
                    finished.push(entry);
                }
                Some(tensor) => notes.push(format!(
                    "warning: {tensor} in {} is not as it was saved; it was made again",
                    writer.file_of(&tensor).unwrap_or_default()
                )),
            }
        }
        if damaged > 0 {
            notes.push(format!(
                "warning: {damaged} damaged lines in {}; what they told of was made again",
                path.display()
            ));
        }
        let journal = Journal::create(&path, fingerprint, &finished)?;
        staging.sync()?;
        Ok(Self { journal, writer, finished, notes })
    }
}

/// Refuses to go on with work of other settings or another model.
fn check(staging: &Staging, head: Option<Value>, now: &Fingerprint) -> Result<()> {
    const REMEDY: &str = "repeat the command of that run with --resume, or start again without";
    let refuse =
        |why: String| Err(Error::config("resume", format!("{}: {why}; {REMEDY}", staging.partial().display())));
    let Some(head) = head else {
        return refuse("the first line of its journal is damaged".to_owned());
    };
    let Ok(was) = serde_json::from_value::<Fingerprint>(head) else {
        return refuse("another version of bitsmith made it".to_owned());
    };
    match &was.differences(now)[..] {
        [] => Ok(()),
        reasons => refuse(reasons.join(", ")),
    }
}

/// The first tensor that the files do not hold as it was written.
fn damage(writer: &CheckpointWriter, entry: &Finished) -> Result<Option<String>> {
    for (name, digest) in &entry.tensors {
        if !writer.holds(name, *digest)? {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}

/// Removes what an earlier run left in the folder, except what is to stay.
fn clear(staging: &Staging, stays: impl Fn(&str) -> bool) -> Result<()> {
    let folder = staging.path();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if !path.file_name().and_then(|name| name.to_str()).is_some_and(&stays) {
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        }
    }
    Ok(())
}
