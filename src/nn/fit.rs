//! Training a classifier, and measuring it.

use serde::{Deserialize, Serialize};

use super::auto::AutoBitModel;
use super::optimiser::Optimiser;
use super::pass::Pass;
use super::samples::Samples;
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::op::{self, Activations, AdamWConfig, Decay, Schedule};
use crate::progress::Progress;
use crate::random::Random;

/// How a network is trained. The same recipe, samples, first weights and device give the same weights, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// How often each sample is seen.
    pub epochs: u32,
    /// Samples of a step.
    pub batch: usize,
    /// Length of the longest step.
    pub rate: f32,
    /// Share of the steps that are a warm-up.
    pub warmup: f32,
    /// How steps get shorter after that.
    pub decay: Decay,
    /// Share of a parameter that a step of length 1 takes away.
    pub weight_decay: f64,
    /// What order and dropout depend on.
    pub seed: u32,
}

impl Default for Recipe {
    /// Ten times in batches of 64, `AdamW` with steps up to 0.001, a twentieth of them a warm-up, then a cosine to 0.
    fn default() -> Self {
        Self { epochs: 10, batch: 64, rate: 1e-3, warmup: 0.05, decay: Decay::Cosine, weight_decay: 0.0, seed: 0 }
    }
}

/// Trains a classifier by cross-entropy; gives the mean loss of each epoch.
///
/// # Errors
/// [`Error::Config`] for a recipe that cannot be or a loss that is not finite, [`Error::Shape`] for samples that do not fit the
/// model, [`Error::Cancelled`] if `progress` says so, and those of the device.
pub async fn fit(
    model: &AutoBitModel,
    samples: &Samples,
    recipe: &Recipe,
    progress: &mut dyn Progress,
) -> Result<Vec<f64>> {
    let (device, schedule) = (model.device(), recipe.schedule(samples)?);
    let config = AdamWConfig { weight_decay: recipe.weight_decay, ..AdamWConfig::default() };
    let mut optimiser = Optimiser::new(device, model.parameters(), config)?;
    let mut random = Random::new(recipe.seed);
    let mut order: Vec<usize> = (0..samples.len()).collect();
    let mut means = Vec::new();
    progress.begin("training", schedule.steps.into());
    for epoch in 0..recipe.epochs {
        random.shuffle(&mut order);
        let mut losses = Vec::new();
        for rows in order.chunks(recipe.batch) {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            let (x, labels) = samples.gather(device, rows)?;
            let step = optimiser.steps();
            let mut rec = Recorder::new(device);
            let logits = model.forward(&mut rec, &x, Pass::Train { seed: recipe.seed, step })?;
            let loss = op::cross_entropy(&mut rec, &logits, &labels, rows.len())?;
            let gradients = op::backward(&mut rec, &logits, &loss.gradient)?;
            // Steps are counted from 1: the first one of a warm-up is not 0.
            optimiser.step(&mut rec, &gradients, recipe.rate * schedule.factor(step + 1))?;
            rec.submit()?;
            losses.push(loss.losses.buffer);
            progress.advance(1, "");
        }
        let mean = mean(device, &losses, samples.len()).await?;
        if !mean.is_finite() {
            let detail = format!("the loss is {mean} in epoch {}; take shorter steps", epoch + 1);
            return Err(Error::config("rate", detail));
        }
        means.push(mean);
    }
    progress.end();
    Ok(means)
}

async fn mean(device: &Device, losses: &[Buffer], count: usize) -> Result<f64> {
    let read = device.read_all(&losses.iter().collect::<Vec<_>>()).await?;
    let values = read.iter().flat_map(|bytes| bytes.as_chunks().0).map(|bytes| f64::from(f32::from_le_bytes(*bytes)));
    Ok(values.sum::<f64>() / count as f64)
}

impl Recipe {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the steps")]
    fn schedule(&self, samples: &Samples) -> Result<Schedule> {
        if self.batch == 0 {
            return Err(Error::config("batch", "0 samples; give at least 1"));
        }
        if !(0.0..=1.0).contains(&self.warmup) {
            return Err(Error::config("warmup", format!("{} is no share from 0 to 1", self.warmup)));
        }
        if !(self.rate.is_finite() && self.rate >= 0.0) {
            return Err(Error::config("rate", format!("{} is no length of a step", self.rate)));
        }
        let steps = samples.len().div_ceil(self.batch) as u64 * u64::from(self.epochs);
        // One more than there are, so that the last one has a length.
        let steps = u32::try_from(steps + 1).map_err(|_| Error::config("epochs", "more than 2^32 steps"))?;
        Ok(Schedule { steps, warmup: (f64::from(self.warmup) * f64::from(steps)) as u32, decay: self.decay })
    }
}

/// The share of samples whose class has the largest logit, `forward` giving logits `[rows, classes]` of `[rows, features]`.
///
/// # Errors
/// Those of `forward` and of the device.
pub async fn accuracy(
    device: &Device,
    samples: &Samples,
    forward: impl Fn(&mut Recorder, &Activations) -> Result<Activations>,
) -> Result<f64> {
    /// Rows at once.
    const ROWS: usize = 128;
    let rows: Vec<usize> = (0..samples.len()).collect();
    let mut right = 0;
    for rows in rows.chunks(ROWS) {
        let (x, labels) = samples.gather(device, rows)?;
        let mut rec = Recorder::new(device);
        let logits = forward(&mut rec, &x)?;
        let classes = op::argmax(&mut rec, &logits)?;
        let classes = rec.submit_and_read::<u32>(&classes).await?;
        right += classes.iter().zip(&labels).filter(|(found, label)| found == label).count();
    }
    Ok(right as f64 / samples.len() as f64)
}
