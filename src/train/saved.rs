//! The state of a training, kept so that another run can go on from it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::TrainConfig;
use super::learner::Learner;
use super::parameter;
use super::trainer::Trainer;
use crate::device::{Buffer, Device};
use crate::error::{Error, Result};
use crate::io::{Checkpoint, Digest, Journal, Recovered, SourceFile, Staging, digest_of, sync_folder};
use crate::quant::identity;

/// Everything that decides the bytes of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    bitsmith: String,
    device: String,
    /// Settings, but for those without a part in the result.
    settings: Value,
    /// Of the model's configuration.
    config: Digest,
    /// The weights that it began from.
    files: Vec<SourceFile>,
    /// What it learns.
    data: Vec<Data>,
}

/// Something that is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Data {
    /// What messages call it.
    pub(super) name: String,
    /// Of all of it.
    pub(super) content: Digest,
}

impl Fingerprint {
    /// Of a training on `device` of a model with this configuration, from these weights if it does not draw them.
    pub(super) fn new(
        device: &Device,
        config: &TrainConfig,
        (configuration, files): (Digest, Vec<SourceFile>),
        data: Vec<Data>,
    ) -> Self {
        let mut settings = config.to_json();
        // How often a state is saved changes nothing.
        settings.as_object_mut().map(|fields| fields.remove("checkpoint_every"));
        let bitsmith = env!("CARGO_PKG_VERSION").to_owned();
        Self { bitsmith, device: identity(device), settings, config: configuration, files, data }
    }

    /// With a setting beside those of the configuration, or in place of one of them.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings[name] = value.into();
        self
    }

    /// The first thing that is not the same now.
    fn difference(&self, now: &Self) -> Option<String> {
        let changed = |what: &str, was: &dyn std::fmt::Display, is: &dyn std::fmt::Display| {
            Some(format!("{what} was {was} and is {is}"))
        };
        if self.bitsmith != now.bitsmith {
            return changed("the version of bitsmith", &self.bitsmith, &now.bitsmith);
        }
        if self.device != now.device {
            return changed("the device", &self.device, &now.device);
        }
        let fields = now.settings.as_object().into_iter().flatten();
        for (name, value) in fields {
            let before = self.settings.get(name).unwrap_or(&Value::Null);
            if before != value {
                return changed(name, before, value);
            }
        }
        if (self.config, &self.files) != (now.config, &now.files) {
            return Some("the model was changed".to_owned());
        }
        let was = self.data.iter().map(|data| Some(data.content)).chain(std::iter::repeat(None));
        let other = now.data.iter().zip(was).find(|(is, was)| Some(is.content) != *was);
        other.map(|(data, _)| format!("{} is not what the unfinished run learned", data.name))
    }
}

/// A state on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Steps that were taken.
    pub(super) steps: u32,
    /// Name of the file.
    file: String,
    checksum: Digest,
    /// Of each step.
    pub(super) losses: Vec<f64>,
}

impl State {
    /// The state that an earlier run left in this place, if it left one.
    ///
    /// # Errors
    /// [`Error::Config`] if that run was another, [`Error::Format`] if the file is not as it was written, [`Error::Io`].
    pub(super) fn find(staging: &Staging, now: &Fingerprint) -> Result<Option<Self>> {
        let Recovered { head, mut entries, .. } = Journal::read::<Value, Self>(&staging.journal())?;
        let Some(head) = head else { return Ok(None) };
        let Ok(head) = serde_json::from_value::<Fingerprint>(head) else {
            let left = staging.partial().display();
            let detail =
                format!("{left} is of other work, or of another version of bitsmith; leave this out to begin anew");
            return Err(Error::config("resume", detail));
        };
        let Some(state) = entries.pop() else { return Ok(None) };
        if let Some(difference) = head.difference(now) {
            let detail = format!("{difference}; give what the unfinished run had, or leave this out to begin anew");
            return Err(Error::config("resume", detail));
        }
        let path = state.path(staging);
        let length = std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
        if digest_of(&path, 0..length)? != Some(state.checksum) {
            return Err(Error::format(path, "it is not as it was written; begin anew without --resume"));
        }
        Ok(Some(state))
    }

    /// Where the parameters and moments lie.
    pub(super) fn path(&self, staging: &Staging) -> PathBuf {
        staging.state().join(&self.file)
    }

    /// The moments of so many parameters.
    ///
    /// # Errors
    /// Those of reading and of the device.
    pub(super) fn moments(&self, staging: &Staging, device: &Device, count: usize) -> Result<Vec<[Buffer; 2]>> {
        let checkpoint = Checkpoint::open(&self.path(staging))?;
        let upload = |order, index| device.upload(&checkpoint.tensor(&moment(order, index))?.to_f32());
        (0..count).map(|index| Ok([upload(1, index)?, upload(2, index)?])).collect()
    }

    /// Writes the state of a trainer; the one before it goes away when the disk has the new one.
    ///
    /// # Errors
    /// Those of the device, and [`Error::Io`].
    pub(super) async fn save<L: Learner>(
        staging: &mut Staging,
        fingerprint: &Fingerprint,
        trainer: &Trainer<'_, L>,
        losses: &[f64],
        before: Option<&Self>,
    ) -> Result<Self> {
        let steps = u32::try_from(losses.len()).unwrap_or(u32::MAX);
        let folder = staging.state();
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let file = format!("{steps}.safetensors");
        let path = folder.join(&file);
        // What a run left that was killed while it wrote.
        remove(&path)?;
        let mut moments = Vec::new();
        for (index, [first, second]) in trainer.moments().enumerate() {
            moments.extend([(moment(1, index), first), (moment(2, index), second)]);
        }
        let learner = trainer.learner();
        parameter::write(learner.device(), &path, learner.parameters(), &moments).await?;
        let length = std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
        let checksum = digest_of(&path, 0..length)?.ok_or_else(|| Error::format(&path, "it became shorter"))?;
        sync_folder(&folder)?;
        staging.sync()?;
        let state = Self { steps, file, checksum, losses: losses.to_vec() };
        // The journal changes in one step: it names the old state or the new one.
        Journal::create(&staging.journal(), fingerprint, std::slice::from_ref(&state))?;
        staging.keep(true);
        staging.sync()?;
        if let Some(before) = before.filter(|before| before.file != state.file) {
            remove(&before.path(staging))?;
        }
        Ok(state)
    }
}

/// Name of a moment, which no parameter has.
fn moment(order: u32, index: usize) -> String {
    format!("moment{order}.{index}")
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Checksum, Staging};

    /// As if there were nothing, its files would become part of what is trained.
    #[test]
    fn what_another_kind_of_work_left_is_refused() -> Result<()> {
        let folder = tempfile::tempdir().map_err(|e| Error::io("a temporary folder", e))?;
        let staging = Staging::create(&folder.path().join("model"), false)?;
        let now =
            Fingerprint::new(&Device::cpu(), &TrainConfig::default(), (Checksum::of(b"{}"), Vec::new()), Vec::new());
        assert_eq!(State::find(&staging, &now)?, None);
        Journal::create::<State>(&staging.journal(), &serde_json::json!({"method": "rtn"}), &[])?;
        let refused = State::find(&staging, &now).expect_err("of other work").to_string();
        assert!(refused.contains("resume") && refused.contains("other work"), "{refused}");
        Ok(())
    }
}
