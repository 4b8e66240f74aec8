//! The training of one block.

use std::ops::Range;

use super::config::LearnedConfig;
use super::ranges::Ranges;
use super::sampler::Sampler;
use crate::calib::CalibratedBlock;
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::model::{Cache, Linear, LoadedBlock};
use crate::op::{self, Activations, Best, BestState, DenseWeight, FakeQuantized, SignSgd, TrainedWeight};
use crate::progress::Progress;
use crate::quant::{QuantizedLayer, QuantizedPart};
use crate::scheme::Plan;

/// Values that offsets may take: all.
const ANY: [f32; 2] = [f32::MIN, f32::MAX];
/// Values that factors of a range may take.
const SHARE: [f32; 2] = [0.0, 1.0];
/// Values that the factor of a scale and a zero point may take.
const POSITIVE: [f32; 2] = [0.0, f32::MAX];
/// Iterations between two looks at the loss, for people. Each waits for the device.
const LOOK: u32 = 50;

/// The layers of a block in training.
pub(super) struct Training<'a> {
    config: &'a LearnedConfig,
    device: &'a Device,
    layers: Vec<Layer>,
    best: BestState,
}

/// A linear layer in training.
struct Layer {
    /// Its place among the block's linear layers.
    index: usize,
    path: String,
    rows: Range<usize>,
    weight: TrainedWeight,
    /// With the parameters of the best iteration.
    best: TrainedWeight,
    offsets: SignSgd,
    factors: SignSgd,
    rate: f32,
}

impl<'a> Training<'a> {
    /// Prepares the layers that the plan names.
    pub(super) async fn new(
        config: &'a LearnedConfig,
        device: &'a Device,
        block: &LoadedBlock,
        plan: &Plan,
    ) -> Result<Self> {
        let mut layers = Vec::new();
        for (index, linear) in block.linears().into_iter().flatten().enumerate() {
            if plan.get(linear.path()).is_some() {
                layers.push(Layer::new(device, config, index, linear, plan).await?);
            }
        }
        Ok(Self { config, device, layers, best: BestState::new(device)? })
    }

    /// Whether there is nothing to train.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Trains on random mini-batches, of which as many sequences go through at once as `cache` has.
    pub(super) async fn train(
        &self,
        step: &mut CalibratedBlock,
        cache: &mut Cache,
        seed: u32,
        progress: &mut dyn Progress,
    ) -> Result<Best> {
        let mut sampler = Sampler::new(seed, step.inputs.len());
        for iteration in 0..self.config.iters {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            let chosen = sampler.batch(self.config.batch_size);
            self.iterate(step, chosen, cache, iteration)?;
            let note = if iteration % LOOK == LOOK - 1 {
                let best = self.best.read(self.device).await?;
                format!("loss {:.3e}", best.latest)
            } else {
                String::new()
            };
            progress.advance(1, &note);
        }
        self.best.read(self.device).await
    }

    /// One step: forward, loss, gradients, and where the loss is the best so far, the parameters kept. A large mini-batch
    /// goes through in parts, each a submission of its own.
    fn iterate(&self, step: &mut CalibratedBlock, chosen: &[usize], cache: &mut Cache, iteration: u32) -> Result<()> {
        let mut rec = Recorder::new(self.device);
        let decoded = self.set(&mut rec, &mut step.block)?;
        let mut found: Option<Found> = None;
        let mut elements = 0;
        for part in chosen.chunks(cache.sequences()) {
            if found.is_some() {
                std::mem::replace(&mut rec, Recorder::new(self.device)).submit()?;
            }
            let x = step.inputs.gather(&mut rec, part)?;
            let target = step.targets.gather(&mut rec, part)?;
            decoded.iter().for_each(|quantized| rec.watch(&quantized.values.buffer));
            elements += target.rows * target.cols;
            let y = step.block.forward(&mut rec, x, cache)?;
            let error = op::squared_error(&mut rec, &y, &target)?;
            let gradients = op::backward(&mut rec, &y, &error.gradient)?;
            let weights = decoded.iter().map(|quantized| {
                let d_values = gradients.of(&quantized.values.buffer).cloned();
                d_values.map(|buffer| Activations { buffer, ..quantized.values })
            });
            let new = Found { sums: error.sums, weights: weights.collect() };
            found = Some(match found {
                Some(before) => before.add(&mut rec, new)?,
                None => new,
            });
        }
        if let Some(found) = found {
            self.best.enter(&mut rec, &found.sums, elements, iteration)?;
            self.step(&mut rec, &decoded, &found.weights, iteration)?;
        }
        rec.submit()
    }

    /// Keeps the parameters if their loss is the best, and takes the step from them.
    fn step(
        &self,
        rec: &mut Recorder,
        decoded: &[FakeQuantized],
        d_decoded: &[Option<Activations>],
        iteration: u32,
    ) -> Result<()> {
        let left = 1.0 - iteration as f32 / self.config.iters as f32;
        for (layer, (quantized, d_values)) in self.layers.iter().zip(decoded.iter().zip(d_decoded)) {
            let Some(d_values) = d_values else { continue };
            let (weight, best, rate) = (&layer.weight, &layer.best, layer.rate * left);
            let factors = self.config.enable_minmax_tuning;
            let gradients = op::fake_quant_backward(rec, weight, quantized, &d_values.buffer, factors)?;
            self.best.keep(rec, &weight.offsets, &best.offsets)?;
            layer.offsets.step(rec, &weight.offsets, &gradients.offsets, rate)?;
            if let Some(gradient) = gradients.factors {
                self.best.keep(rec, &weight.factors, &best.factors)?;
                layer.factors.step(rec, &weight.factors, &gradient, rate)?;
            }
        }
        Ok(())
    }

    /// Lets the block compute with the decoded weights.
    fn set(&self, rec: &mut Recorder, block: &mut LoadedBlock) -> Result<Vec<FakeQuantized>> {
        let mut linears: Vec<_> = block.linears_mut().into_iter().flatten().collect();
        let mut all = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let quantized = op::fake_quant(rec, &layer.weight)?;
            linears[layer.index].set_dense(DenseWeight::from_values(quantized.values.clone())?)?;
            all.push(quantized);
        }
        Ok(all)
    }

    /// Lets the block compute with the parameters as they are: before training, each weight is rounded to the nearest code.
    pub(super) fn put(&self, block: &mut LoadedBlock) -> Result<()> {
        let mut rec = Recorder::new(self.device);
        self.set(&mut rec, block)?;
        rec.submit()
    }

    /// The codes of the best parameters, or of the last ones.
    pub(super) async fn finish(self, keep_best: bool) -> Result<Vec<QuantizedPart>> {
        let mut parts = Vec::with_capacity(self.layers.len());
        for Layer { path, rows, weight, best, .. } in self.layers {
            let kept = if keep_best { best } else { weight };
            let (weight, error) = op::quantize_trained(self.device, &kept, &path).await?;
            parts.push(QuantizedPart { path, rows, layer: QuantizedLayer { weight, error } });
        }
        Ok(parts)
    }
}

impl Layer {
    async fn new(device: &Device, config: &LearnedConfig, index: usize, linear: &Linear, plan: &Plan) -> Result<Self> {
        let path = linear.path().to_owned();
        let (Some(scheme), Some(dense)) = (plan.get(&path), linear.dense()) else {
            return Err(Error::Unsupported {
                what: format!("training {path}, which is quantized already"),
                remedy: "give the original model".into(),
            });
        };
        let mut rec = Recorder::new(device);
        let mut weight = TrainedWeight::new(&mut rec, dense, scheme)?;
        rec.submit()?;
        let mut factor_bounds = SHARE;
        if config.ranges == Ranges::Scales {
            (weight, factor_bounds) = (weight.freed(device).await?, POSITIVE);
        }
        let best = weight.with(copied(device, &weight.offsets).await?, copied(device, &weight.factors).await?);
        let elements = |buffer: &Buffer| buffer.bytes() / 4;
        Ok(Self {
            index,
            rows: linear.rows(),
            offsets: SignSgd::new(device, elements(&weight.offsets), config.momentum, ANY)?,
            factors: SignSgd::new(device, elements(&weight.factors), config.momentum, factor_bounds)?,
            rate: config.rate(scheme.bits()),
            path,
            weight,
            best,
        })
    }
}

/// Another buffer with the same words.
async fn copied(device: &Device, buffer: &Buffer) -> Result<Buffer> {
    device.upload(&device.read::<u8>(buffer).await?)
}

/// What a part of a mini-batch adds to: the sums of squares of its rows, and the gradients of the decoded weights.
struct Found {
    sums: Activations,
    weights: Vec<Option<Activations>>,
}

impl Found {
    /// Both together; parts have equal numbers of rows.
    fn add(self, rec: &mut Recorder, other: Self) -> Result<Self> {
        let sums = op::add(rec, &self.sums, &other.sums)?;
        let pairs = self.weights.into_iter().zip(other.weights);
        let weights = pairs.map(|pair| match pair {
            (Some(a), Some(b)) => op::add(rec, &a, &b).map(Some),
            (a, b) => Ok(a.or(b)),
        });
        Ok(Self { sums, weights: weights.collect::<Result<_>>()? })
    }
}

/// How many sequences of a mini-batch go through a block at once: all, or a divisor of their number, so that one
/// submission stays short and its activations few.
pub(in crate::quant) fn sequences_at_once(batch: usize, tokens: usize, weights: usize) -> usize {
    /// Multiplications and additions of forward and backward pass: about half a second of a small GPU.
    const LIMIT: usize = 1 << 36;
    let each = weights.saturating_mul(3 * tokens).max(1);
    (1..=batch).rev().find(|n| batch.is_multiple_of(*n) && *n <= (LIMIT / each).max(1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_mini_batch_are_equal_and_small() {
        for (batch, tokens, weights, expected) in [
            (8, 256, 45_000, 8),
            (8, 2048, 44_000_000, 1),
            (8, 2048, 5_000_000, 2),
            (6, 2048, 3_000_000, 3),
            (1, 9, 1, 1),
        ] {
            assert_eq!(sequences_at_once(batch, tokens, weights), expected, "{batch} x {tokens}, {weights}");
        }
    }
}
