//! The training of one block.

use std::ops::Range;

use super::config::LearnedConfig;
use super::sampler::Sampler;
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::model::{Cache, Linear, LoadedBlock};
use crate::op::WeightError;
use crate::op::{self, Activations, Best, BestState, DenseWeight, GroupWeight, RowCache, SignSgd, TrainedWeight};
use crate::pack::PackedTensor;
use crate::progress::Progress;
use crate::scheme::Plan;

/// Values that offsets may take: all.
const ANY: [f32; 2] = [f32::MIN, f32::MAX];
/// Values that factors of a range may take.
const SHARE: [f32; 2] = [0.0, 1.0];
/// Iterations between two looks at the loss, for people. Each waits for the device.
const LOOK: u32 = 50;

/// A block in training.
pub(super) struct Training<'a> {
    config: &'a LearnedConfig,
    device: &'a Device,
    block: &'a mut LoadedBlock,
    layers: Vec<Layer>,
    best: BestState,
}

/// What a block is trained on: for each sequence the input, and the output it should give, `[tokens, hidden_size]`.
pub(super) struct Examples<'a> {
    pub(super) inputs: &'a [Activations],
    pub(super) targets: &'a [Activations],
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

/// A part of a layer of the checkpoint, quantized.
pub(super) struct Part {
    pub(super) path: String,
    pub(super) rows: Range<usize>,
    pub(super) weight: PackedTensor,
    pub(super) error: WeightError,
}

impl<'a> Training<'a> {
    /// Prepares the layers that the plan names.
    pub(super) fn new(
        config: &'a LearnedConfig,
        device: &'a Device,
        block: &'a mut LoadedBlock,
        plan: &Plan,
    ) -> Result<Self> {
        let mut rec = Recorder::new(device);
        let mut layers = Vec::new();
        for (index, linear) in block.linears().into_iter().flatten().enumerate() {
            if plan.get(linear.path()).is_some() {
                layers.push(Layer::new(&mut rec, config, index, linear, plan)?);
            }
        }
        rec.submit()?;
        Ok(Self { config, device, block, layers, best: BestState::new(device)? })
    }

    /// Whether there is nothing to train.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Trains on random mini-batches. `cache` has room for one of them.
    pub(super) async fn train(
        &mut self,
        examples: &Examples<'_>,
        cache: &mut Cache,
        seed: u32,
        progress: &mut dyn Progress,
    ) -> Result<Best> {
        let mut sampler = Sampler::new(seed, examples.inputs.len());
        for iteration in 0..self.config.iters {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            let chosen = sampler.batch(self.config.batch_size);
            self.iterate(examples, chosen, cache, iteration)?;
            let note = if iteration % LOOK == LOOK - 1 {
                let best = self.best.read(self.device).await?;
                format!("iteration {}, loss {:.3e}", iteration + 1, best.latest)
            } else {
                String::new()
            };
            progress.advance(1, &note);
        }
        self.best.read(self.device).await
    }

    /// One step: forward, loss, gradients, and where the loss is the best so far, the parameters kept.
    fn iterate(&mut self, examples: &Examples<'_>, chosen: &[usize], cache: &mut Cache, iteration: u32) -> Result<()> {
        let mut rec = Recorder::new(self.device);
        let x = gather(&mut rec, examples.inputs, chosen)?;
        let target = gather(&mut rec, examples.targets, chosen)?;
        for layer in &self.layers {
            rec.watch(&layer.weight.offsets);
            if self.config.enable_minmax_tuning {
                rec.watch(&layer.weight.factors);
            }
        }
        self.set(&mut rec, |layer| &layer.weight)?;
        let y = self.block.forward(&mut rec, x, cache)?;
        let error = op::squared_error(&mut rec, &y, &target)?;
        let gradients = op::backward(&mut rec, &y, &error.gradient)?;
        self.best.enter(&mut rec, &error, iteration)?;
        let left = 1.0 - iteration as f32 / self.config.iters as f32;
        for layer in &self.layers {
            let (weight, best) = (&layer.weight, &layer.best);
            for (value, kept, sgd) in
                [(&weight.offsets, &best.offsets, &layer.offsets), (&weight.factors, &best.factors, &layer.factors)]
            {
                if let Some(gradient) = gradients.of(value) {
                    self.best.keep(&mut rec, value, kept)?;
                    sgd.step(&mut rec, value, gradient, layer.rate * left)?;
                }
            }
        }
        rec.submit()
    }

    /// Lets the block compute with the decoded weights of one choice of parameters.
    fn set(&mut self, rec: &mut Recorder, which: impl Fn(&Layer) -> &TrainedWeight) -> Result<()> {
        let mut linears: Vec<_> = self.block.linears_mut().into_iter().flatten().collect();
        for layer in &self.layers {
            let values = op::fake_quant(rec, which(layer))?.values;
            linears[layer.index].set_dense(DenseWeight::from_values(values)?)?;
        }
        Ok(())
    }

    /// The block with each weight rounded to the nearest code: where training starts.
    pub(super) fn start(&mut self) -> Result<&LoadedBlock> {
        let mut rec = Recorder::new(self.device);
        self.set(&mut rec, |layer| &layer.weight)?;
        rec.submit()?;
        Ok(self.block)
    }

    /// The codes of the best parameters; the block computes with them from then on.
    pub(super) async fn finish(self) -> Result<Vec<Part>> {
        let mut parts = Vec::with_capacity(self.layers.len());
        for layer in self.layers {
            let (weight, error) = op::quantize_trained(self.device, &layer.best, &layer.path).await?;
            let mut linears = self.block.linears_mut().into_iter().flatten();
            if let Some(linear) = linears.nth(layer.index) {
                linear.set_group(GroupWeight::upload(self.device, &weight)?)?;
            }
            parts.push(Part { path: layer.path, rows: layer.rows, weight, error });
        }
        Ok(parts)
    }
}

impl Layer {
    fn new(rec: &mut Recorder, config: &LearnedConfig, index: usize, linear: &Linear, plan: &Plan) -> Result<Self> {
        let path = linear.path().to_owned();
        let (Some(scheme), Some(dense)) = (plan.get(&path), linear.dense()) else {
            return Err(Error::Unsupported {
                what: format!("training {path}, which is quantized already"),
                remedy: "give the original model".into(),
            });
        };
        let device = rec.device().clone();
        let weight = TrainedWeight::new(rec, dense, scheme)?;
        let copy = TrainedWeight::new(rec, dense, scheme)?;
        let best = weight.with(copy.offsets, copy.factors);
        let elements = |buffer: &Buffer| buffer.bytes() / 4;
        Ok(Self {
            index,
            rows: linear.rows(),
            offsets: SignSgd::new(&device, elements(&weight.offsets), config.momentum, ANY)?,
            factors: SignSgd::new(&device, elements(&weight.factors), config.momentum, SHARE)?,
            rate: config.rate(scheme.bits()),
            path,
            weight,
            best,
        })
    }
}

/// The chosen sequences, one after the other.
fn gather(rec: &mut Recorder, samples: &[Activations], chosen: &[usize]) -> Result<Activations> {
    let Activations { rows, cols, .. } = samples[chosen[0]];
    let all = rows * chosen.len();
    let to = RowCache { buffer: rec.alloc(all * cols * 4)?, sequences: 1, capacity: all, cols };
    for (slot, sample) in chosen.iter().enumerate() {
        op::store_rows(rec, &samples[*sample], &to, slot * rows)?;
    }
    Ok(Activations { buffer: to.buffer, rows: all, cols })
}
