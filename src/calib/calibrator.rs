//! A walk through a model, block by block, with what goes in and what should come out.

use std::path::Path;
use std::rc::Rc;

use super::store::Store;
use super::{CalibrationDataset, Inputs, Samples};
use crate::device::{Buffer, Recorder};
use crate::error::{Error, Result};
use crate::model::{LoadedBlock, StreamedModel};
use crate::op::{self, Activations};

/// Shows calibration sequences to a model, of which one block at a time is on the device: each block comes with its inputs
/// and with what the original block gives for the original inputs; what was made of it decides the inputs of the next.
///
/// Per sequence two rows of activations a token are held; [`Self::bounded`] keeps them out of memory.
///
/// ```
/// use bitsmith::calib::{CalibrationDataset, Calibrator, Inputs};
/// use bitsmith::{Device, model::StreamedModel};
/// let model = StreamedModel::open("examples/tiny-llama".as_ref(), &Device::cpu())?;
/// let data = CalibrationDataset::from_sequences(vec![vec![1, 50, 60, 70]])?;
/// let mut calibrator = Calibrator::new(model, &data, Inputs::Quantized)?;
/// let mut seen = 0;
/// while let Some(block) = pollster::block_on(calibrator.enter())? {
///     assert_eq!(block.inputs.tokens(), 4);
///     // Nothing was made of it: it gives what it should.
///     assert_eq!(pollster::block_on(calibrator.leave(block))?, 0.0);
///     seen += 1;
/// }
/// assert_eq!(seen, 4);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct Calibrator {
    model: Rc<StreamedModel>,
    /// The sequences, until they are embedded.
    data: Option<CalibrationDataset>,
    inputs: Inputs,
    next: usize,
    /// What the original blocks give.
    original: Samples,
    /// What the blocks give of which something was made, from the second block on and where that is asked for.
    quantized: Option<Samples>,
    store: Option<Rc<Store>>,
}

/// A block on the device, and what it is calibrated on.
#[derive(Debug)]
pub struct CalibratedBlock {
    /// Which one.
    pub index: usize,
    /// The block, to be changed.
    pub block: LoadedBlock,
    /// What goes into it.
    pub inputs: Samples,
    /// What the original block gives for the original inputs.
    pub targets: Samples,
}

impl Calibrator {
    /// Checks the sequences.
    ///
    /// # Errors
    /// [`Error::Config`] for sequences longer than the model's context or tokens it does not know.
    pub fn new(model: impl Into<Rc<StreamedModel>>, data: &CalibrationDataset, inputs: Inputs) -> Result<Self> {
        let model = model.into();
        let (context, vocabulary) = (model.config().context(), model.config().vocab_size);
        if data.seq_len() > context {
            let detail = format!("{}, but the model's context is {context}; take shorter sequences", data.seq_len());
            return Err(Error::config("seq_len", detail));
        }
        if let Some(id) = data.sequences().iter().flatten().find(|id| **id as usize >= vocabulary) {
            let detail = format!("token {id} is none of the model's {vocabulary}; use the model's own tokenizer");
            return Err(Error::config("samples", detail));
        }
        let (original, quantized, store) = (Samples::default(), None, None);
        Ok(Self { model, data: Some(data.clone()), inputs, next: 0, original, quantized, store })
    }

    /// Holds at most `bytes` of activations in memory between blocks, and the rest in a temporary file in `folder`. On a
    /// GPU what is held lies on the host. The results are the same.
    #[must_use]
    pub fn bounded(self, folder: &Path, bytes: u64) -> Self {
        let store = Store::new(self.model.device(), folder, bytes);
        Self { store: Some(Rc::new(store)), ..self }
    }

    /// The model.
    pub fn model(&self) -> &StreamedModel {
        &self.model
    }

    /// Loads the next block and lets it answer its original inputs; none is left after the last. After an error the walk
    /// is over.
    ///
    /// # Errors
    /// Those of reading the model, of the device and of the temporary file.
    pub async fn enter(&mut self) -> Result<Option<CalibratedBlock>> {
        if self.next == self.model.blocks() {
            return Ok(None);
        }
        if let Some(data) = self.data.take() {
            self.original = self.embed(&data).await?;
        }
        let block = self.model.block(self.next)?;
        let original = std::mem::take(&mut self.original);
        let inputs = self.quantized.take().unwrap_or_else(|| original.clone());
        let mut cache = self.model.cache(1, original.tokens())?;
        let mut targets = Samples::within(self.store.clone());
        for x in original.drain() {
            let mut rec = Recorder::new(self.model.device());
            let y = block.forward(&mut rec, x?, &mut cache)?;
            rec.submit()?;
            targets.push(y).await?;
        }
        Ok(Some(CalibratedBlock { index: self.next, block, inputs, targets }))
    }

    async fn embed(&self, data: &CalibrationDataset) -> Result<Samples> {
        let cache = self.model.cache(1, data.seq_len())?;
        let mut samples = Samples::within(self.store.clone());
        for ids in data.sequences() {
            let mut rec = Recorder::new(self.model.device());
            let x = self.model.embed(&mut rec, ids, &cache)?;
            rec.submit()?;
            samples.push(x).await?;
        }
        Ok(samples)
    }

    /// Goes on behind a block as it is now. Returns the mean squared error of its outputs.
    ///
    /// # Errors
    /// Those of the device and of the temporary file.
    pub async fn leave(&mut self, entered: CalibratedBlock) -> Result<f64> {
        let CalibratedBlock { index, block, inputs, targets } = entered;
        let mut outputs = (self.inputs == Inputs::Quantized).then(|| Samples::within(self.store.clone()));
        let loss = answer(&self.model, &block, inputs.drain(), &targets, outputs.as_mut()).await?;
        (self.original, self.quantized, self.next) = (targets, outputs, index + 1);
        Ok(loss)
    }
}

impl CalibratedBlock {
    /// The mean squared error of the outputs of the block as it is now, over all sequences.
    ///
    /// # Errors
    /// Those of the device and of the temporary file.
    pub async fn loss(&self, model: &StreamedModel) -> Result<f64> {
        let inputs = (0..self.inputs.len()).map(|index| self.inputs.get(index));
        answer(model, &self.block, inputs, &self.targets, None).await
    }
}

/// Lets a block answer, sequence by sequence. Returns the mean squared error; the answers themselves go to `outputs`.
async fn answer(
    model: &StreamedModel,
    block: &LoadedBlock,
    inputs: impl Iterator<Item = Result<Activations>>,
    targets: &Samples,
    mut outputs: Option<&mut Samples>,
) -> Result<f64> {
    let device = model.device();
    let mut cache = model.cache(1, targets.tokens())?;
    let (mut sums, mut elements) = (Vec::<Buffer>::new(), 0);
    for (index, x) in inputs.enumerate() {
        let mut rec = Recorder::new(device);
        let y = block.forward(&mut rec, x?, &mut cache)?;
        sums.push(op::squared_error(&mut rec, &y, &targets.get(index)?)?.sums.buffer);
        rec.submit()?;
        elements += y.rows * y.cols;
        if let Some(outputs) = &mut outputs {
            outputs.push(y).await?;
        }
    }
    let read = device.read_all(&sums.iter().collect::<Vec<_>>()).await?;
    let values = read.iter().flat_map(|bytes| bytes.as_chunks::<4>().0);
    let total: f64 = values.map(|b| f64::from(f32::from_le_bytes(*b))).sum();
    Ok(total / elements.max(1) as f64)
}
