//! What a run has finished, kept so that another run can go on with it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fingerprint::Fingerprint;
use crate::error::{Error, Result};
use crate::export::{BlockRecord, LayerRecord};
use crate::io::{CheckpointWriter, Digest, Journal, Recovered, ShardPlan, Staging};

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
        fingerprint.expect(head, staging.partial())?;
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
