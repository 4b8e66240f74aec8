//! Tuning: the codes, scales and zero points of all blocks together are trained so that the model predicts what the
//! original predicts. What goes on within blocks is computed again on the way back, so that activations of one block at
//! a time are held; of the others, only their inputs.

mod block;
mod config;

use std::ops::Range;

use block::{Step, TunedBlock};
pub use config::TuneConfig;

use super::NamedLayer;
use super::block_run::joined;
use super::learned::{Sampler, sequences_at_once};
use crate::calib::{CalibrationDataset, stacked};
use crate::device::Recorder;
use crate::error::{Error, Result};
use crate::model::{Cache, StreamedModel};
use crate::op::{self, Activations, ChunkedLoss, Decay, Schedule};
use crate::progress::Progress;

/// One of so many sequences is held out of tuning, to measure what came of it.
const HELD_OUT: usize = 16;
/// One of so many steps belongs to the warm-up.
const WARM_UP: u32 = 20;
/// The offset, two moments and the decoded value, f32.
const BYTES_A_WEIGHT: u64 = 16;
/// Logits that are held at once: 64 MiB of each model's.
const LOGITS: usize = 1 << 24;

/// About how many bytes [`tune`] takes on the device.
///
/// # Errors
/// Those of reading the model.
pub fn tune_bytes(model: &StreamedModel, data: &CalibrationDataset, config: &TuneConfig) -> Result<u64> {
    let (block, blocks, tokens) = (model.block(0)?, model.blocks() as u64, data.seq_len() as u64);
    let weights = blocks * (block.parameters() as u64 * BYTES_A_WEIGHT + block.bytes());
    let rows = tokens * (data.sequences().len() as u64 + config.batch(data.seq_len()) as u64 * (blocks + 1));
    Ok(weights + rows * model.config().hidden_size as u64 * 4)
}

/// What came of tuning.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The layers in the order of the blocks; as they were, if tuning did not help.
    pub layers: Vec<NamedLayer>,
    /// Mean divergence of the predictions from the original's, on sequences that were held out, in nats a token.
    pub divergence_before: f64,
    /// The same after tuning.
    pub divergence_after: f64,
}

/// Tunes the quantized layers of a model, which `model` holds in its original form, on sequences of tokens.
///
/// On the device are the original weights, the parameters and the moments of `AdamW`: 16 bytes a quantized weight beside
/// the model; and what the original's last block gives for every sequence. [`tune_bytes`] is the sum.
///
/// # Errors
/// Those of reading the model and of the device, [`Error::Shape`] for a layer that does not fit, and [`Error::Cancelled`].
pub async fn tune(
    model: &StreamedModel,
    layers: Vec<NamedLayer>,
    data: &CalibrationDataset,
    config: &TuneConfig,
    seed: u32,
    progress: &mut dyn Progress,
) -> Result<Tuned> {
    config.check()?;
    progress.begin("all blocks together", config.tune_iters.into());
    let (sequences, tokens) = (data.sequences().len(), data.seq_len());
    let trained = sequences - sequences / HELD_OUT;
    let batch = config.batch(tokens).min(trained);
    let probe = if trained == sequences { 0..sequences } else { trained..sequences };
    let mut single = model.cache(1, tokens)?;
    let mut tuning = Tuning::new(model, config, &layers, data, &mut single).await?;
    let at_once = sequences_at_once(batch, tokens, tuning.largest);
    let mut cache = model.cache(at_once, tokens)?;
    let divergence_before = tuning.divergence(probe.clone(), &mut single).await?;
    let mut sampler = Sampler::new(seed, trained);
    let schedule = Schedule { steps: config.tune_iters, warmup: config.tune_iters / WARM_UP, decay: Decay::Cosine };
    for number in 0..config.tune_iters {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        let chosen = sampler.batch(batch).to_vec();
        tuning.iterate(&chosen, &mut cache, Step { share: schedule.factor(number), number })?;
        progress.advance(1, "");
    }
    let divergence_after = tuning.divergence(probe, &mut single).await?;
    progress.end();
    let better = divergence_after < divergence_before;
    let layers = if better { tuning.finish().await? } else { layers };
    Ok(Tuned { layers, divergence_before, divergence_after })
}

struct Tuning<'a> {
    model: &'a StreamedModel,
    data: &'a CalibrationDataset,
    blocks: Vec<TunedBlock>,
    /// Of each sequence what the original's last block gives.
    original: Vec<Activations>,
    /// Weights of the largest block.
    largest: usize,
}

impl<'a> Tuning<'a> {
    async fn new(
        model: &'a StreamedModel,
        config: &TuneConfig,
        layers: &[NamedLayer],
        data: &'a CalibrationDataset,
        cache: &mut Cache,
    ) -> Result<Self> {
        let device = model.device();
        let mut original = Vec::with_capacity(data.sequences().len());
        for ids in data.sequences() {
            let mut rec = Recorder::new(device);
            original.push(model.embed(&mut rec, ids, cache)?);
            rec.submit()?;
        }
        let (mut blocks, mut largest) = (Vec::with_capacity(model.blocks()), 0);
        for index in 0..model.blocks() {
            let block = model.block(index)?;
            largest = largest.max(block.parameters());
            for x in &mut original {
                let mut rec = Recorder::new(device);
                *x = block.forward(&mut rec, x.clone(), cache)?;
                rec.submit()?;
            }
            blocks.push(TunedBlock::new(device, config, block, layers).await?);
        }
        Ok(Self { model, data, blocks, original, largest })
    }

    /// The inputs of the blocks, part by part, and what the last one gives.
    fn forward(&mut self, parts: &[&[usize]], cache: &mut Cache) -> Result<Vec<Vec<Activations>>> {
        let device = self.model.device();
        let mut x = Vec::with_capacity(parts.len());
        for part in parts {
            let ids: Vec<u32> = part.iter().flat_map(|index| &self.data.sequences()[*index]).copied().collect();
            let mut rec = Recorder::new(device);
            x.push(self.model.embed(&mut rec, &ids, cache)?);
            rec.submit()?;
        }
        let mut all = vec![x];
        for block in &mut self.blocks {
            let mut rec = Recorder::new(device);
            block.decode(&mut rec)?;
            let mut outputs = Vec::with_capacity(parts.len());
            for x in all.last().into_iter().flatten() {
                outputs.push(block.forward(&mut rec, x.clone(), cache)?);
                std::mem::replace(&mut rec, Recorder::new(device)).submit()?;
            }
            all.push(outputs);
        }
        Ok(all)
    }

    /// The divergence of predictions from the original's for some sequences, from what the last block gives, with the
    /// gradient of its mean over so many rows.
    fn loss(&self, rec: &mut Recorder, x: &Activations, part: &[usize], mean_of: usize) -> Result<ChunkedLoss> {
        let original: Vec<Activations> = part.iter().map(|index| self.original[*index].clone()).collect();
        let original = stacked(rec, &original)?;
        let rows_at_once = LOGITS / self.model.config().vocab_size.max(1);
        op::loss_in_chunks(rec, x, rows_at_once, &[], |rec, x, rows| {
            let expected = self.model.logits(rec, original.part(rows)?)?;
            let logits = self.model.logits(rec, x.clone())?;
            let loss = op::kl_loss(rec, &expected, &logits, mean_of)?;
            Ok((logits, loss))
        })
    }

    fn iterate(&mut self, chosen: &[usize], cache: &mut Cache, step: Step) -> Result<()> {
        let device = self.model.device().clone();
        let parts: Vec<_> = chosen.chunks(cache.sequences()).collect();
        let rows = chosen.len() * self.data.seq_len();
        let mut all = self.forward(&parts, cache)?;
        let mut gradients = Vec::with_capacity(parts.len());
        for (x, part) in all.pop().into_iter().flatten().zip(&parts) {
            let mut rec = Recorder::new(&device);
            gradients.push(self.loss(&mut rec, &x, part, rows)?.gradient);
            rec.submit()?;
        }
        for block in self.blocks.iter_mut().rev() {
            let parts: Vec<_> = all.pop().into_iter().flatten().zip(gradients).collect();
            gradients = block.backward(&device, &parts, cache, step)?;
        }
        Ok(())
    }

    /// Mean divergence over some sequences, one at a time.
    async fn divergence(&mut self, probe: Range<usize>, single: &mut Cache) -> Result<f64> {
        let device = self.model.device().clone();
        let (mut total, mut rows) = (0.0, 0);
        for index in probe {
            let part = [index];
            let Some(x) = self.forward(&[&part], single)?.pop().into_iter().flatten().next() else { continue };
            let mut rec = Recorder::new(&device);
            let losses = self.loss(&mut rec, &x, &part, 1)?.losses;
            rec.submit()?;
            total += losses.read(&device).await?.into_iter().map(f64::from).sum::<f64>();
            rows += losses.cols;
        }
        Ok(total / rows.max(1) as f64)
    }

    async fn finish(self) -> Result<Vec<NamedLayer>> {
        let mut layers = Vec::new();
        for block in self.blocks {
            layers.extend(joined(block.finish(self.model.device()).await?)?);
        }
        Ok(layers)
    }
}
