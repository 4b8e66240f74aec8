//! A training at work: its steps, its states, its folder.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::config::TrainConfig;
use super::learner::Learner;
use super::parameter;
use super::saved::{Fingerprint, State};
use super::trainer::Trainer;
use crate::device::Buffer;
use crate::error::{Error, Result};
use crate::io::{SINGLE_FILE, Staging};
use crate::progress::Progress;

/// Steps whose losses wait on the device: reading them waits for the steps.
const UNREAD: usize = 10;

/// Where a training begins: anew, or with the state that an earlier run left.
pub(super) struct Start {
    staging: Staging,
    fingerprint: Fingerprint,
    state: Option<State>,
    notes: Vec<String>,
}

impl Start {
    /// For the folder `out`, which `force` lets replace another, and with what lies there if the run is to `resume`.
    ///
    /// # Errors
    /// [`Error::Config`] if the name is taken, or what lies there is of another training; [`Error::Format`] for a state that is
    /// damaged; [`Error::Io`].
    pub(super) fn new(out: &Path, force: bool, resume: bool, fingerprint: Fingerprint) -> Result<Self> {
        let open = if resume { Staging::resume } else { Staging::create };
        let staging = open(out, force)?;
        let mut notes = staging.notes().to_vec();
        let state = State::find(&staging, &fingerprint)?;
        if resume && state.is_none() {
            notes.push("note: there was nothing to resume; it started from the beginning".to_owned());
        }
        Ok(Self { staging, fingerprint, state, notes })
    }

    /// The file of the weights to go on with, if there is one.
    pub(super) fn weights(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|state| state.path(&self.staging))
    }

    /// The training of a learner that has these weights, or those to begin with.
    ///
    /// # Errors
    /// Those of reading and of the device.
    pub(super) fn run<L: Learner>(self, config: &TrainConfig, learner: L) -> Result<Run<'_, L>> {
        let Self { staging, fingerprint, state, notes } = self;
        let moments = |state: &State| state.moments(&staging, learner.device(), learner.parameters().len());
        let moments = state.as_ref().map(moments).transpose()?;
        Ok(Run {
            trainer: Trainer::new(config, learner, moments)?,
            config,
            fingerprint,
            losses: state.as_ref().map(|state| state.losses.clone()).unwrap_or_default(),
            unread: Vec::new(),
            resumed: state.as_ref().map_or(0, |state| state.steps),
            state,
            staging,
            notes,
        })
    }
}

/// A training at work.
pub(super) struct Run<'a, L> {
    trainer: Trainer<'a, L>,
    config: &'a TrainConfig,
    fingerprint: Fingerprint,
    /// Of each step that was read.
    losses: Vec<f64>,
    /// Losses that are on the device, by step and batch.
    unread: Vec<Vec<Buffer>>,
    /// What is saved.
    state: Option<State>,
    resumed: u32,
    staging: Staging,
    notes: Vec<String>,
}

impl<L: Learner> Run<'_, L> {
    /// Takes the steps that are left; gives their time in seconds.
    ///
    /// # Errors
    /// [`Error::Config`] for a loss that is not finite, those of the device and of writing; [`Error::Unfinished`] where the same
    /// may succeed later and a state is saved.
    pub(super) async fn go(&mut self, progress: &mut dyn Progress) -> Result<f64> {
        let start = Instant::now();
        self.steps(progress).await.map_err(|cause| self.unfinished(cause))?;
        Ok(start.elapsed().as_secs_f64())
    }

    pub(super) fn learner(&self) -> &L {
        self.trainer.learner()
    }

    pub(super) fn learner_mut(&mut self) -> &mut L {
        self.trainer.learner_mut()
    }

    /// Mean loss of each step.
    pub(super) fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// Steps that an earlier run had taken.
    pub(super) fn resumed(&self) -> u32 {
        self.resumed
    }

    /// Things a user should know, one a line.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Writes the weights, and with `rest` all else that makes the folder; the memory of moments is given back.
    ///
    /// # Errors
    /// Those of the device and of writing, as [`Self::go`].
    pub(super) async fn fill(self, rest: impl FnOnce(&Path) -> Result<()>) -> Result<(L, Filled)> {
        self.write(rest).await.map_err(|cause| self.unfinished(cause))?;
        let filled = Filled { staging: self.staging, state: self.state, total: self.config.steps };
        Ok((self.trainer.into_learner(), filled))
    }

    async fn write(&self, rest: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let folder = self.staging.path();
        // An earlier run may have ended between these files and the folder's name.
        std::fs::remove_dir_all(folder).and_then(|()| std::fs::create_dir(folder)).map_err(|e| Error::io(folder, e))?;
        rest(folder)?;
        let path = folder.join(SINGLE_FILE);
        let learner = self.trainer.learner();
        parameter::write(learner.device(), &path, learner.parameters(), &[]).await
    }

    async fn steps(&mut self, progress: &mut dyn Progress) -> Result<()> {
        progress.begin("training", self.config.steps.into());
        progress.advance(self.resumed.into(), "");
        for step in self.resumed..self.config.steps {
            if progress.cancelled() {
                self.save().await?;
                return Err(Error::Cancelled);
            }
            self.unread.push(self.trainer.step(step)?);
            let done = step + 1;
            let due = self.config.checkpoint_every > 0 && done.is_multiple_of(self.config.checkpoint_every);
            if self.unread.len() >= UNREAD || due || done == self.config.steps {
                self.read().await?;
            }
            // After the last step too: the folder is still to be written, and perhaps packed.
            if due || done == self.config.steps {
                self.save().await?;
            }
            let note = self.losses.last().map(|loss| format!("loss {loss:.4}")).unwrap_or_default();
            progress.advance(1, &note);
        }
        progress.end();
        Ok(())
    }

    /// Reads the losses that wait.
    async fn read(&mut self) -> Result<()> {
        let buffers: Vec<&Buffer> = self.unread.iter().flatten().collect();
        let mut read = self.trainer.learner().device().read_all(&buffers).await?.into_iter();
        for batches in std::mem::take(&mut self.unread) {
            let bytes: Vec<u8> = read.by_ref().take(batches.len()).flatten().collect();
            let values = bytes.as_chunks().0;
            let sum: f64 = values.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).sum();
            let loss = sum / values.len().max(1) as f64;
            if !loss.is_finite() {
                let detail = format!("the loss is {loss} at step {}; take shorter steps", self.losses.len() + 1);
                return Err(Error::config("lr", detail));
            }
            self.losses.push(loss);
        }
        Ok(())
    }

    /// Saves the state, unless it is saved.
    async fn save(&mut self) -> Result<()> {
        self.read().await?;
        if self.losses.is_empty() || self.state.as_ref().is_some_and(|state| state.losses.len() == self.losses.len()) {
            return Ok(());
        }
        let before = self.state.as_ref();
        let state = State::save(&mut self.staging, &self.fingerprint, &self.trainer, &self.losses, before).await?;
        self.state = Some(state);
        Ok(())
    }

    fn unfinished(&self, cause: Error) -> Error {
        unfinished((self.state.as_ref(), self.config.steps), &self.staging, cause)
    }
}

/// A folder that has all but its name, and what is saved of its training until it has that.
pub(super) struct Filled {
    staging: Staging,
    state: Option<State>,
    total: u32,
}

impl Filled {
    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        self.staging.path()
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// As [`Staging::commit`].
    pub(super) fn commit(self) -> Result<()> {
        self.staging.commit()
    }

    /// What is told of work that fails before it has its name: that the training can be gone on with, if it can.
    pub(super) fn unfinished(&self, cause: Error) -> Error {
        let cause = match cause {
            Error::Unfinished { cause, .. } => *cause,
            other => other,
        };
        unfinished((self.state.as_ref(), self.total), &self.staging, cause)
    }
}

/// An error as it is told where a state is saved, of so many steps.
fn unfinished((state, total): (Option<&State>, u32), staging: &Staging, cause: Error) -> Error {
    match state {
        Some(state) if may_pass(&cause) => Error::Unfinished {
            cause: Box::new(cause),
            unit: "steps",
            finished: state.steps as usize,
            total: total as usize,
            folder: staging.partial().to_path_buf(),
        },
        _ => cause,
    }
}

/// Whether the same request may succeed at another time.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Io { .. } | Error::Cancelled | Error::Device { .. } | Error::Limit { .. })
}
