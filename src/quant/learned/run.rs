//! A model through learned rounding, block by block.

use std::time::Instant;

use super::block::{Examples, Part, Training, sequences_at_once};
use super::config::{Inputs, LearnedConfig};
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::model::{Cache, LoadedBlock, StreamedModel};
use crate::op::{self, Activations, WeightError};
use crate::pack::PackedTensor;
use crate::progress::Progress;
use crate::scheme::Plan;

/// A walk through a model: each block is trained on what the quantized blocks before it give (or the original ones), to
/// give what the original block gives on what the original blocks before it give.
///
/// The device holds one block with its gradients, and per sequence two rows of activations a token.
///
/// ```
/// use bitsmith::quant::learned::{LearnedConfig, LearnedRun};
/// use bitsmith::{Device, model::StreamedModel, progress::Silent, scheme::Plan};
/// let model = StreamedModel::open("examples/tiny-llama".as_ref(), &Device::cpu())?;
/// let plan: Plan = [("model.layers.0.self_attn.q_proj", "w2g32a".parse()?)].into_iter().collect();
/// let config = LearnedConfig { iters: 2, batch_size: 1, ..Default::default() };
/// let mut run = LearnedRun::new(model, config, plan, &[vec![1, 50, 60, 70]])?;
/// let block = pollster::block_on(run.next_block(&mut Silent))?.expect("there are four");
/// assert_eq!(block.layers[0].path, "model.layers.0.self_attn.q_proj");
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct LearnedRun {
    config: LearnedConfig,
    plan: Plan,
    model: StreamedModel,
    next: usize,
    /// What the original blocks give, for each sequence.
    original: Vec<Activations>,
    /// What the quantized blocks give, where it is asked for.
    quantized: Option<Vec<Activations>>,
}

/// A block that went through training.
#[derive(Clone, Debug)]
pub struct LearnedBlock {
    /// Which one.
    pub index: usize,
    /// Its quantized layers.
    pub layers: Vec<LearnedLayer>,
    /// Mean squared error of the block's output over all sequences, with each weight rounded to the nearest code.
    pub loss_before: f64,
    /// The same with the learned codes.
    pub loss_after: f64,
    /// The iteration whose parameters were kept.
    pub best_iteration: u32,
    /// Wall time.
    pub seconds: f64,
}

/// A quantized layer of a checkpoint.
#[derive(Clone, Debug)]
pub struct LearnedLayer {
    /// Module path.
    pub path: String,
    /// Codes, scales and zero points.
    pub weight: PackedTensor,
    /// How far it is from the original.
    pub error: WeightError,
}

impl LearnedRun {
    /// Embeds the sequences, all of one length.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not fit, or sequences that are none, of different lengths or longer than the
    /// model's context; those of the device.
    pub fn new(model: StreamedModel, config: LearnedConfig, plan: Plan, sequences: &[Vec<u32>]) -> Result<Self> {
        config.check()?;
        let length = sequences.first().map_or(0, Vec::len);
        if length == 0 || sequences.iter().any(|ids| ids.len() != length) {
            return Err(Error::config("samples", "sequences of one length, at least one, are needed"));
        }
        let cache = model.cache(1, length)?;
        let embed = |ids: &Vec<u32>| {
            let mut rec = Recorder::new(model.device());
            let x = model.embed(&mut rec, ids, &cache)?;
            rec.submit()?;
            Ok(x)
        };
        let original: Vec<Activations> = sequences.iter().map(embed).collect::<Result<_>>()?;
        let quantized = (config.inputs == Inputs::Quantized).then(|| original.clone());
        Ok(Self { config, plan, model, next: 0, original, quantized })
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.model.blocks()
    }

    /// Trains the next block; none is left after the last. Progress hears of iterations.
    ///
    /// # Errors
    /// Those of reading the model and of the device, [`Error::NotFinite`] for a weight that is not finite, and
    /// [`Error::Cancelled`].
    pub async fn next_block(&mut self, progress: &mut dyn Progress) -> Result<Option<LearnedBlock>> {
        if self.next == self.blocks() {
            return Ok(None);
        }
        let (start, index) = (Instant::now(), self.next);
        let device = self.model.device().clone();
        let tokens = self.original[0].rows;
        let mut single = self.model.cache(1, tokens)?;
        let mut block = self.model.block(index)?;
        let weights =
            block.linears().into_iter().flatten().map(|linear| linear.shape().iter().product::<usize>()).sum();
        let targets = outputs(&device, &block, &self.original, &mut single)?;

        progress.begin(&format!("block {} of {}", index + 1, self.blocks()), self.config.iters.into());
        let examples = Examples { inputs: self.quantized.as_ref().unwrap_or(&self.original), targets: &targets };
        let mut training = Training::new(&self.config, &device, &mut block, &self.plan)?;
        let (mut parts, mut before, mut best_iteration) = (Vec::new(), None, 0);
        if !training.is_empty() {
            before = Some(loss(&device, training.start()?, &examples, &mut single).await?.0);
            let batch = self.config.batch_size.min(self.original.len());
            let mut cache = self.model.cache(sequences_at_once(batch, tokens, weights), tokens)?;
            #[allow(clippy::cast_possible_truncation, reason = "a seed; wrapping is harmless")]
            let seed = self.config.seed ^ (index as u32).wrapping_mul(0x9E37_79B9);
            best_iteration = training.train(&examples, &mut cache, seed, progress).await?.iteration;
            parts = training.finish().await?;
        }
        let (after, outputs) = loss(&device, &block, &examples, &mut single).await?;
        progress.end();
        self.quantized = self.quantized.is_some().then_some(outputs);
        self.original = targets;
        self.next += 1;
        Ok(Some(LearnedBlock {
            index,
            layers: joined(parts)?,
            loss_before: before.unwrap_or(after),
            loss_after: after,
            best_iteration,
            seconds: start.elapsed().as_secs_f64(),
        }))
    }
}

/// What a block gives, sequence by sequence.
fn outputs(
    device: &Device,
    block: &LoadedBlock,
    inputs: &[Activations],
    cache: &mut Cache,
) -> Result<Vec<Activations>> {
    let forward = |x: &Activations| {
        let mut rec = Recorder::new(device);
        let y = block.forward(&mut rec, x.clone(), cache)?;
        rec.submit()?;
        Ok(y)
    };
    inputs.iter().map(forward).collect()
}

/// The mean squared error of a block over all sequences, and its outputs.
async fn loss(
    device: &Device,
    block: &LoadedBlock,
    examples: &Examples<'_>,
    cache: &mut Cache,
) -> Result<(f64, Vec<Activations>)> {
    let (mut outputs, mut sums) = (Vec::new(), Vec::<Buffer>::new());
    for (x, target) in examples.inputs.iter().zip(examples.targets) {
        let mut rec = Recorder::new(device);
        let y = block.forward(&mut rec, x.clone(), cache)?;
        sums.push(op::squared_error(&mut rec, &y, target)?.sums.buffer);
        rec.submit()?;
        outputs.push(y);
    }
    let read = device.read_all(&sums.iter().collect::<Vec<_>>()).await?;
    let values = read.iter().flat_map(|bytes| bytes.as_chunks::<4>().0);
    let total: f64 = values.map(|b| f64::from(f32::from_le_bytes(*b))).sum();
    let elements: usize = outputs.iter().map(|y| y.rows * y.cols).sum();
    Ok((total / elements as f64, outputs))
}

/// The layers of the checkpoint: some models hold one as several, whose rows follow each other.
fn joined(parts: Vec<Part>) -> Result<Vec<LearnedLayer>> {
    let mut layers: Vec<(LearnedLayer, usize)> = Vec::new();
    for Part { path, rows, weight, error } in parts {
        match layers.last_mut() {
            Some((layer, end)) if layer.path == path && *end == rows.start => {
                layer.weight = PackedTensor::concat(&[layer.weight.clone(), weight])?;
                layer.error = layer.error.join(error);
                *end = rows.end;
            }
            _ => layers.push((LearnedLayer { path, weight, error }, rows.end)),
        }
    }
    Ok(layers.into_iter().map(|(layer, _)| layer).collect())
}
