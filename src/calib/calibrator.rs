//! A walk through a model, block by block, with what goes in and what should come out.

use super::{CalibrationDataset, Inputs, Samples};
use crate::device::{Buffer, Device, Recorder};
use crate::error::Result;
use crate::model::{Cache, LoadedBlock, StreamedModel};
use crate::op::{self, Activations};

/// Shows calibration sequences to a model, of which one block at a time is on the device: each block comes with its inputs
/// and with what the original block gives for the original inputs; what was made of it decides the inputs of the next.
///
/// Per sequence two rows of activations a token are held.
///
/// ```
/// use bitsmith::calib::{CalibrationDataset, Calibrator, Inputs};
/// use bitsmith::{Device, model::StreamedModel};
/// let model = StreamedModel::open("examples/tiny-llama".as_ref(), &Device::cpu())?;
/// let data = CalibrationDataset::from_sequences(vec![vec![1, 50, 60, 70]])?;
/// let mut calibrator = Calibrator::new(model, &data, Inputs::Quantized)?;
/// let mut seen = 0;
/// while let Some(block) = calibrator.enter()? {
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
    model: StreamedModel,
    next: usize,
    /// What the original blocks give.
    original: Samples,
    /// What the blocks give of which something was made, where that is asked for.
    quantized: Option<Samples>,
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
    /// Embeds the sequences.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for sequences longer than the model's context or tokens it does not know,
    /// and those of the device.
    pub fn new(model: StreamedModel, data: &CalibrationDataset, inputs: Inputs) -> Result<Self> {
        let cache = model.cache(1, data.seq_len())?;
        let mut original = Samples::default();
        for ids in data.sequences() {
            let mut rec = Recorder::new(model.device());
            let x = model.embed(&mut rec, ids, &cache)?;
            rec.submit()?;
            original.push(x)?;
        }
        let quantized = (inputs == Inputs::Quantized).then(|| original.clone());
        Ok(Self { model, next: 0, original, quantized })
    }

    /// The model.
    pub fn model(&self) -> &StreamedModel {
        &self.model
    }

    /// Loads the next block and lets it answer its original inputs; none is left after the last.
    ///
    /// # Errors
    /// Those of reading the model and of the device.
    pub fn enter(&self) -> Result<Option<CalibratedBlock>> {
        if self.next == self.model.blocks() {
            return Ok(None);
        }
        let block = self.model.block(self.next)?;
        let mut cache = self.model.cache(1, self.original.tokens())?;
        let targets = outputs(self.model.device(), &block, &self.original, &mut cache)?;
        let inputs = self.quantized.as_ref().unwrap_or(&self.original).clone();
        Ok(Some(CalibratedBlock { index: self.next, block, inputs, targets }))
    }

    /// Goes on behind a block as it is now. Returns the mean squared error of its outputs.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn leave(&mut self, entered: CalibratedBlock) -> Result<f64> {
        let (loss, outputs) = entered.answer(&self.model).await?;
        if self.quantized.is_some() {
            self.quantized = Some(outputs);
        }
        self.original = entered.targets;
        self.next = entered.index + 1;
        Ok(loss)
    }
}

impl CalibratedBlock {
    /// The mean squared error of the outputs of the block as it is now, over all sequences.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn loss(&self, model: &StreamedModel) -> Result<f64> {
        Ok(self.answer(model).await?.0)
    }

    async fn answer(&self, model: &StreamedModel) -> Result<(f64, Samples)> {
        let device = model.device();
        let mut cache = model.cache(1, self.inputs.tokens())?;
        let (mut outputs, mut sums, mut elements) = (Samples::default(), Vec::<Buffer>::new(), 0);
        for index in 0..self.inputs.len() {
            let mut rec = Recorder::new(device);
            let y = self.block.forward(&mut rec, self.inputs.get(index)?, &mut cache)?;
            sums.push(op::squared_error(&mut rec, &y, &self.targets.get(index)?)?.sums.buffer);
            rec.submit()?;
            elements += y.rows * y.cols;
            outputs.push(y)?;
        }
        let read = device.read_all(&sums.iter().collect::<Vec<_>>()).await?;
        let values = read.iter().flat_map(|bytes| bytes.as_chunks::<4>().0);
        let total: f64 = values.map(|b| f64::from(f32::from_le_bytes(*b))).sum();
        Ok((total / elements.max(1) as f64, outputs))
    }
}

/// What a block gives, sequence by sequence.
fn outputs(device: &Device, block: &LoadedBlock, inputs: &Samples, cache: &mut Cache) -> Result<Samples> {
    let mut outputs = Samples::default();
    for index in 0..inputs.len() {
        let mut rec = Recorder::new(device);
        let y: Activations = block.forward(&mut rec, inputs.get(index)?, cache)?;
        rec.submit()?;
        outputs.push(y)?;
    }
    Ok(outputs)
}
