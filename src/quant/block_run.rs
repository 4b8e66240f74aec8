//! A model through a method that works block by block.

use std::path::Path;
use std::time::Instant;

use super::{BlockJob, BlockQuantizer, QuantizedLayer, QuantizedPart};
use crate::calib::{CalibratedBlock, CalibrationDataset, Calibrator};
use crate::error::Result;
use crate::model::StreamedModel;
use crate::op::GroupWeight;
use crate::pack::PackedTensor;
use crate::progress::Progress;
use crate::scheme::Plan;

/// A walk through a model: each block is quantized on what those before it give, and answers with its codes from then on.
///
/// ```
/// use bitsmith::calib::CalibrationDataset;
/// use bitsmith::quant::{BlockRun, Learned, LearnedConfig};
/// use bitsmith::{Device, model::StreamedModel, progress::Silent, scheme::Plan};
/// let model = StreamedModel::open("examples/tiny-llama".as_ref(), &Device::cpu())?;
/// let plan: Plan = [("model.layers.0.self_attn.q_proj", "w2g32a".parse()?)].into_iter().collect();
/// let learned = Learned::new(LearnedConfig { iters: 2, batch_size: 1, ..Default::default() })?;
/// let data = CalibrationDataset::from_sequences(vec![vec![1, 50, 60, 70]])?;
/// let mut run = BlockRun::new(&learned, model, &data, &plan)?;
/// let block = pollster::block_on(run.next_block(&mut Silent))?.expect("there are four");
/// assert_eq!(block.layers[0].path, "model.layers.0.self_attn.q_proj");
/// # Ok::<(), bitsmith::Error>(())
/// ```
pub struct BlockRun<'a> {
    quantizer: &'a dyn BlockQuantizer,
    plan: &'a Plan,
    calibrator: Calibrator,
}

/// A block that was quantized.
#[derive(Clone, Debug)]
pub struct QuantizedBlock {
    /// Which one.
    pub index: usize,
    /// Its quantized layers.
    pub layers: Vec<NamedLayer>,
    /// Mean squared error of its output over all sequences before the method did its work, if it knows.
    pub loss_before: Option<f64>,
    /// The same with the codes.
    pub loss_after: f64,
    /// The iteration whose parameters were kept, where there are iterations.
    pub best_iteration: Option<u32>,
    /// Wall time.
    pub seconds: f64,
}

/// A quantized layer of a checkpoint.
#[derive(Clone, Debug)]
pub struct NamedLayer {
    /// Module path.
    pub path: String,
    /// Codes and error.
    pub layer: QuantizedLayer,
}

impl<'a> BlockRun<'a> {
    /// Checks the sequences.
    ///
    /// # Errors
    /// As [`Calibrator::new`].
    pub fn new(
        quantizer: &'a dyn BlockQuantizer,
        model: StreamedModel,
        data: &CalibrationDataset,
        plan: &'a Plan,
    ) -> Result<Self> {
        Ok(Self { quantizer, plan, calibrator: Calibrator::new(model, data, quantizer.inputs())? })
    }

    /// [`Calibrator::bounded`].
    #[must_use]
    pub fn bounded(self, folder: &Path, bytes: u64) -> Self {
        Self { calibrator: self.calibrator.bounded(folder, bytes), ..self }
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.calibrator.model().blocks()
    }

    /// Quantizes the next block; none is left after the last.
    ///
    /// # Errors
    /// Those of reading the model, of the method and of the device, and
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    pub async fn next_block(&mut self, progress: &mut dyn Progress) -> Result<Option<QuantizedBlock>> {
        let start = Instant::now();
        let Some(mut step) = self.calibrator.enter().await? else { return Ok(None) };
        let index = step.index;
        let job = BlockJob { model: self.calibrator.model(), step: &mut step, plan: self.plan, progress };
        let result = self.quantizer.quantize(job).await?;
        let layers = joined(result.parts)?;
        let codes = |path: &str| layers.iter().find(|layer| layer.path == path).map(|layer| &layer.layer.weight);
        let loss_after = self.leave(step, codes).await?;
        Ok(Some(QuantizedBlock {
            index,
            layers,
            loss_before: result.loss_before,
            loss_after,
            best_iteration: result.best_iteration,
            seconds: start.elapsed().as_secs_f64(),
        }))
    }

    /// Goes through the next block with codes that were found before, by module path. False if none is left.
    ///
    /// # Errors
    /// Those of reading the model and of the device, and
    /// [`Error::Shape`](crate::Error::Shape) for a layer that does not fit.
    pub async fn replay(&mut self, layers: &[(String, PackedTensor)]) -> Result<bool> {
        let Some(step) = self.calibrator.enter().await? else { return Ok(false) };
        self.leave(step, |path| layers.iter().find(|layer| layer.0 == path).map(|layer| &layer.1)).await?;
        Ok(true)
    }

    async fn leave<'c>(
        &mut self,
        mut step: CalibratedBlock,
        codes: impl Fn(&str) -> Option<&'c PackedTensor>,
    ) -> Result<f64> {
        let device = self.calibrator.model().device().clone();
        for linear in step.block.linears_mut().into_iter().flatten() {
            if let Some(weight) = codes(linear.path()) {
                let rows = weight.rows_in(linear.rows())?;
                linear.set_group(GroupWeight::upload(&device, &rows)?)?;
            }
        }
        self.calibrator.leave(step).await
    }
}

/// The layers of the checkpoint: some models hold one as several, whose rows follow each other.
pub(crate) fn joined(parts: Vec<QuantizedPart>) -> Result<Vec<NamedLayer>> {
    let mut layers: Vec<(NamedLayer, usize)> = Vec::new();
    for QuantizedPart { path, rows, layer } in parts {
        match layers.last_mut() {
            Some((last, end)) if last.path == path && *end == rows.start => {
                let whole = &mut last.layer;
                whole.weight = PackedTensor::concat(&[whole.weight.clone(), layer.weight])?;
                whole.error = whole.error.join(layer.error);
                *end = rows.end;
            }
            _ => layers.push((NamedLayer { path, layer }, rows.end)),
        }
    }
    Ok(layers.into_iter().map(|(layer, _)| layer).collect())
}
