//! One block by itself, step by step to fewer bytes.

use std::rc::Rc;

use super::course::used;
use super::facts::{Facts, State};
use super::parts::{Counts, Parts};
use super::trials::{On, Trials};
use super::{Goal, GradualQuantizer, Measured};
use crate::calib::CalibrationDataset;
use crate::error::{Error, Result};
use crate::export::CodesFrom;
use crate::model::StreamedModel;
use crate::progress::Progress;
use crate::quant::NamedLayer;
use crate::scheme::{Plan, Scheme};

/// A block as far down the ladder as a budget lets it go.
#[derive(Clone, Debug)]
pub struct GradualBlock {
    /// Its layers; none if no rung is within the budget, so that it is as it was.
    pub layers: Vec<NamedLayer>,
    /// All that was tried, in order: the scheme of all layers, how codes were chosen, what the model was with them, and whether
    /// that was taken. What was not taken left nothing behind.
    pub steps: Vec<(Scheme, CodesFrom, Measured, bool)>,
    /// Bytes of its layers before, on the device.
    pub bytes_before: u64,
    /// Bytes of its layers after, scales and zero points counted.
    pub bytes_after: u64,
}

impl GradualQuantizer {
    /// Takes one block down the ladder, all others as in the original: at each rung codes rounded to nearest, then searched, then
    /// learned, until some are within the budget; where none are, the block goes back to the rung before.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use bitsmith::calib::CalibrationDataset;
    /// use bitsmith::search::{GradualQuantizer, MixedPrecisionConfig};
    /// use bitsmith::{Device, model::StreamedModel, progress::Silent};
    /// let model = Rc::new(StreamedModel::open("examples/tiny-llama".as_ref(), &Device::cpu())?);
    /// let data = CalibrationDataset::from_sequences((0..6).map(|i| vec![1, 50 + i, 60, 70 - i, 80]).collect())?;
    /// let config = MixedPrecisionConfig::builder().max_kl(0.02).group_sizes(128, 128).learned_iters(0).build()?;
    /// let gradual = GradualQuantizer::new(config)?;
    /// let block = pollster::block_on(gradual.quantize_block(&model, &data, 2, &mut Silent))?;
    /// assert_eq!(block.layers.len(), 7);
    /// assert!(block.bytes_after < block.bytes_before);
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] if the goal is a size, or for sequences that cannot be divided; those of the model and the device;
    /// [`Error::Cancelled`].
    pub async fn quantize_block(
        &self,
        model: &Rc<StreamedModel>,
        data: &CalibrationDataset,
        index: usize,
        progress: &mut dyn Progress,
    ) -> Result<GradualBlock> {
        let config = self.config();
        let Goal::Quality(budgets) = config.goal()? else {
            return Err(Error::config("target", "one block by itself needs a budget of quality, such as 5%"));
        };
        let parts = Parts::of(data, Counts { further: 0, ..self.counts(data.seq_len()) })?;
        let loaded = model.block(index)?;
        let bytes_before = loaded.bytes();
        let paths: Vec<String> =
            loaded.linears().into_iter().flatten().map(|linear| linear.path().to_owned()).collect();
        drop(loaded);
        let plan = |scheme: Scheme| paths.iter().map(|path| (path.clone(), scheme)).collect::<Plan>();
        let ladder = config.ladder()?;
        let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
        let facts = Facts::open(&folder.path().join("facts"), false)?;
        let mut trials = Trials::new(model.clone(), parts, config, &plan(ladder.schemes()[0]), facts).await?;
        let mut kinds = vec![(CodesFrom::Rtn, 0), (CodesFrom::Searched, 0)];
        kinds.extend((config.learned_iters > 0).then_some((CodesFrom::Learned, config.learned_iters)));
        let (mut accepted, mut steps) = (State::new(), Vec::new());
        for scheme in ladder.schemes() {
            let mut fits = false;
            for (from, iters) in &kinds {
                let codes = trials.codes(index, &plan(*scheme), &State::new(), *from, *iters, progress).await?;
                let measured = trials.measure(On::HeldOut, &codes, index, progress).await?;
                fits = used(&budgets, &measured) <= 1.0;
                steps.push((*scheme, *from, measured, fits));
                if fits {
                    accepted = codes;
                    break;
                }
            }
            if !fits {
                break;
            }
        }
        let layers: Vec<NamedLayer> = trials.layers(accepted.iter()).collect::<Result<_>>()?;
        let bytes = |layer: &NamedLayer| {
            let weight = &layer.layer.weight;
            weight.scheme.bytes(weight.rows, weight.cols)
        };
        let bytes_after = if layers.is_empty() { bytes_before } else { layers.iter().map(bytes).sum() };
        Ok(GradualBlock { layers, steps, bytes_before, bytes_after })
    }
}
