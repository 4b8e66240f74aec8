//! What rounding a layer costs, predicted from gradients.

use super::forms::codes;
use crate::calib::CalibrationDataset;
use crate::device::{Buffer, Recorder};
use crate::error::{Error, Result};
use crate::model::{Cache, LoadedBlock, StreamedModel};
use crate::op::{self, Activations, DenseWeight, GroupWeight};
use crate::progress::Progress;
use crate::scheme::Scheme;
use crate::tensor::Tensor;

/// Activations between blocks that are held on the device at once, in bytes.
const HELD: usize = 1 << 30;
/// Logits that are held at once: 64 MiB.
const LOGITS: usize = 1 << 24;
/// Marks the last token of a sequence, whose next one is not known.
const UNSCORED: u32 = u32::MAX;

/// To first order, what rounding each linear layer does to the loss of each sequence.
#[derive(Clone, Debug)]
pub struct PredictedErrors {
    /// By block, place of the linear layer in it, and rung: of each sequence the change of its summed loss, in nats.
    changes: Vec<Vec<Vec<Vec<f64>>>>,
    /// Tokens that are predicted of a sequence.
    tokens: f64,
}

impl PredictedErrors {
    /// For some linear layers of a block together, by their places, at each rung: KL in nats a token, and the change of the
    /// loss in nats a token, which is the logarithm of the ratio of perplexities.
    pub fn of(&self, block: usize, places: &[usize]) -> Vec<[f64; 2]> {
        let layers: Vec<_> =
            self.changes[block].iter().enumerate().filter(|(place, _)| places.contains(place)).collect();
        let rungs = layers.first().map_or(0, |(_, rungs)| rungs.len());
        let rung = |rung: usize| {
            let mut sums: Vec<f64> = Vec::new();
            for (_, rungs) in &layers {
                sums.resize(rungs[rung].len(), 0.0);
                sums.iter_mut().zip(&rungs[rung]).for_each(|(sum, change)| *sum += change);
            }
            let scale = 1.0 / (self.tokens * sums.len().max(1) as f64);
            let kl = 0.5 * scale * sums.iter().map(|change| change * change).sum::<f64>();
            [kl, scale * sums.iter().sum::<f64>() + kl]
        };
        (0..rungs).map(rung).collect()
    }
}

/// Predicts what rounding each linear layer to each rung costs, from one way through the model and one back.
///
/// With g the gradient of a sequence's loss with respect to a weight and d the error of the weight, `g . d` is the change of
/// the loss to first order. For text that the model might have written, the mean of `(g . d)^2 / 2` over sequences is the
/// divergence to second order: the Fisher information along d, correlations between weights included. Layers that change
/// together add their `g . d` before the square. Each sequence is one draw, so many short sequences tell more than a few long
/// ones.
///
/// ```
/// use bitsmith::calib::CalibrationDataset;
/// use bitsmith::{Device, model::StreamedModel, progress::Silent, search::predicted};
/// let model = StreamedModel::open("examples/tiny-llama".as_ref(), &Device::cpu())?;
/// let data = CalibrationDataset::from_sequences(vec![vec![1, 50, 60, 70, 80], vec![1, 90, 95, 99, 97]])?;
/// let rungs = ["w8g32s".parse()?, "w2g32s".parse()?];
/// let errors = pollster::block_on(predicted(&model, &data, &rungs, &mut Silent))?;
/// let [[kl_8, _], [kl_2, _]] = errors.of(2, &[0])[..] else { unreachable!("two rungs") };
/// assert!(0.0 < kl_8 && kl_8 < kl_2);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Unsupported`] for a model that is quantized, [`Error::Config`] for sequences of one token,
/// [`Error::Cancelled`], and those of reading the model and of the device.
pub async fn predicted(
    model: &StreamedModel,
    data: &CalibrationDataset,
    rungs: &[Scheme],
    progress: &mut dyn Progress,
) -> Result<PredictedErrors> {
    let length = data.seq_len();
    if length < 2 {
        return Err(Error::config("seq_len", "1 token predicts nothing; take at least 2"));
    }
    let blocks = model.blocks();
    let at_once = (HELD / (4 * length * model.config().hidden_size * (blocks + 1)).max(1)).max(1);
    let sequences = data.sequences();
    progress.begin("importance by gradient", (2 * blocks * sequences.len().div_ceil(at_once)) as u64);
    let mut cache = model.cache(1, length)?;
    let mut changes: Vec<Vec<Vec<Vec<f64>>>> = vec![Vec::new(); blocks];
    for some in sequences.chunks(at_once) {
        let mut inputs = forward(model, some, &mut cache, progress)?;
        let outputs = inputs.pop().unwrap_or_default();
        let mut gradients = Vec::with_capacity(some.len());
        for (x, ids) in outputs.iter().zip(some) {
            gradients.push(loss(model, x, ids)?);
        }
        drop(outputs);
        for (index, x) in inputs.into_iter().enumerate().rev() {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            let mut block = Back::new(model, model.block(index)?, rungs).await?;
            let found;
            (gradients, found) = block.back(model, x, gradients, &mut cache).await?;
            changes[index].resize(found.len(), vec![Vec::new(); rungs.len()]);
            for (all, new) in changes[index].iter_mut().flatten().zip(found.into_iter().flatten()) {
                all.extend(new);
            }
            progress.advance(1, &model.block_path(index));
        }
    }
    progress.end();
    Ok(PredictedErrors { changes, tokens: (length - 1) as f64 })
}

/// What goes into each block, and what the last one gives, of each sequence.
fn forward(
    model: &StreamedModel,
    sequences: &[Vec<u32>],
    cache: &mut Cache,
    progress: &mut dyn Progress,
) -> Result<Vec<Vec<Activations>>> {
    let mut all: Vec<Vec<Activations>> = Vec::with_capacity(model.blocks() + 1);
    let mut x = Vec::with_capacity(sequences.len());
    for ids in sequences {
        let mut rec = Recorder::new(model.device());
        x.push(model.embed(&mut rec, ids, cache)?);
        rec.submit()?;
    }
    for index in 0..model.blocks() {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        let block = model.block(index)?;
        let mut y = Vec::with_capacity(x.len());
        for x in &x {
            let mut rec = Recorder::new(model.device());
            y.push(block.forward(&mut rec, x.clone(), cache)?);
            rec.submit()?;
        }
        all.push(std::mem::replace(&mut x, y));
        progress.advance(1, &model.block_path(index));
    }
    all.push(x);
    Ok(all)
}

/// The gradient of a sequence's summed loss with respect to what the last block gives.
fn loss(model: &StreamedModel, x: &Activations, ids: &[u32]) -> Result<Activations> {
    let targets: Vec<u32> = ids[1..].iter().copied().chain([UNSCORED]).collect();
    let mut rec = Recorder::new(model.device());
    let rows = LOGITS / model.config().vocab_size.max(1);
    let found = op::loss_in_chunks(&mut rec, x, rows, &[], |rec, x, rows| {
        let logits = model.logits(rec, x.clone())?;
        let loss = op::cross_entropy(rec, &logits, &targets[rows], 1)?;
        Ok((logits, loss))
    })?;
    rec.submit()?;
    Ok(found.gradient)
}

/// A block whose weights are watched, with the errors of each rung.
struct Back {
    block: LoadedBlock,
    values: Vec<Activations>,
    /// Of each layer `[rungs, weights]`.
    errors: Vec<DenseWeight>,
    rungs: usize,
}

impl Back {
    async fn new(model: &StreamedModel, mut block: LoadedBlock, rungs: &[Scheme]) -> Result<Self> {
        let device = model.device();
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for linear in block.linears_mut().into_iter().flatten() {
            let weight = linear.original()?.read(device).await?.to_f32();
            let mut all = Vec::with_capacity(weight.len() * rungs.len());
            for rung in rungs {
                let codes = GroupWeight::upload(device, &codes(device, linear, *rung).await?)?;
                let mut rec = Recorder::new(device);
                let rounded = op::dequantize(&mut rec, &codes)?;
                rec.submit()?;
                let rounded = rounded.read(device).await?;
                all.extend(rounded.iter().zip(&weight).map(|(rounded, weight)| rounded - weight));
            }
            errors.push(DenseWeight::upload(device, &Tensor::from_f32(vec![rungs.len(), weight.len()], &all)?)?);
            let [rows, cols] = linear.shape();
            let own = Activations::upload(device, rows, cols, &weight)?;
            linear.set_dense(DenseWeight::from_values(own.clone())?)?;
            values.push(own);
        }
        Ok(Self { block, values, errors, rungs: rungs.len() })
    }

    /// From the inputs and the gradients of the outputs of some sequences to the gradients of the inputs, and by layer, rung
    /// and sequence what the error of the weight does to the loss.
    async fn back(
        &mut self,
        model: &StreamedModel,
        inputs: Vec<Activations>,
        d_outputs: Vec<Activations>,
        cache: &mut Cache,
    ) -> Result<(Vec<Activations>, Vec<Vec<Vec<f64>>>)> {
        let device = model.device();
        let mut d_inputs = Vec::with_capacity(inputs.len());
        let mut products: Vec<Buffer> = Vec::new();
        for (x, d_y) in inputs.into_iter().zip(d_outputs) {
            let mut rec = Recorder::new(device);
            rec.watch(&x.buffer);
            self.values.iter().for_each(|values| rec.watch(&values.buffer));
            let y = self.block.forward(&mut rec, x.clone(), cache)?;
            let gradients = op::backward(&mut rec, &y, &d_y)?;
            for (values, errors) in self.values.iter().zip(&self.errors) {
                let missing =
                    || Error::Shape { op: "gradient", expected: "one of each layer".into(), found: "none".into() };
                let buffer = gradients.of(&values.buffer).ok_or_else(missing)?.clone();
                let gradient = Activations { buffer, rows: 1, cols: values.rows * values.cols };
                products.push(op::dense(&mut rec, &gradient, errors)?.buffer);
            }
            let buffer = gradients.of(&x.buffer).cloned().unwrap_or(d_y.buffer);
            rec.submit()?;
            d_inputs.push(Activations { buffer, ..x });
        }
        let read = device.read_all(&products.iter().collect::<Vec<_>>()).await?;
        let layers = self.values.len();
        let mut changes = vec![vec![Vec::with_capacity(d_inputs.len()); self.rungs]; layers];
        for (place, bytes) in read.iter().enumerate() {
            for (to, value) in changes[place % layers].iter_mut().zip(bytes.as_chunks::<4>().0) {
                to.push(f64::from(f32::from_le_bytes(*value)));
            }
        }
        Ok((d_inputs, changes))
    }
}
