//! Learned rounding: block by block, the offsets added before rounding and the range of every group are trained so that
//! the quantized block gives what the original block gave. AutoRound's method, but for scales and zero points, which are
//! trained by themselves; [`tune`](super::tune) may follow.

mod block;
mod config;
mod preset;
mod ranges;
mod sampler;

use std::cmp::Ordering;

use block::Training;
pub(super) use block::sequences_at_once;
pub use config::LearnedConfig;
#[cfg(feature = "cli")]
pub use preset::LearnedArgs;
pub use preset::Preset;
pub use ranges::Ranges;
pub(super) use sampler::Sampler;

use super::{BlockJob, BlockQuantizer, BlockResult, Quantizer, Task, TuneConfig, Way, codes_by_group};
use crate::calib::Inputs;
use crate::error::Result;
use crate::scheme::Scheme;

/// Learned rounding with checked settings.
///
/// ```
/// use bitsmith::quant::{Learned, LearnedConfig, Quantizer};
/// let learned = Learned::new(LearnedConfig { bits: 2, asymmetric: true, ..Default::default() })?;
/// assert_eq!(learned.scheme().to_string(), "w2g128a");
/// assert!(Learned::new(LearnedConfig { batch_size: 0, ..Default::default() }).is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Learned {
    config: LearnedConfig,
    scheme: Scheme,
}

impl Learned {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) that names the setting.
    pub fn new(config: LearnedConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { scheme: config.scheme()?, config })
    }
}

impl Quantizer for Learned {
    fn name(&self) -> &'static str {
        "learned"
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(&self.config).unwrap_or_default()
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn refuses(&self, scheme: Scheme) -> Option<&'static str> {
        codes_by_group(scheme)
    }

    fn way(&self, _: bool) -> Way<'_> {
        Way::Blocks(self)
    }
}

impl BlockQuantizer for Learned {
    fn inputs(&self) -> Inputs {
        self.config.inputs
    }

    fn samples(&self, seq_len: usize) -> usize {
        self.config.samples.max(self.config.tune.samples(seq_len))
    }

    fn quantize<'a>(&'a self, job: BlockJob<'a>) -> Task<'a, BlockResult> {
        Box::pin(async move {
            let BlockJob { model, step, plan, progress } = job;
            let config = &self.config;
            progress.begin("iteration", config.iters.into());
            let training = Training::new(config, model.device(), &step.block, plan).await?;
            if training.is_empty() {
                progress.end();
                return Ok(BlockResult::default());
            }
            training.put(&mut step.block)?;
            let loss_before = step.loss(model).await?;
            let tokens = step.inputs.tokens();
            let batch = config.batch_size.min(step.inputs.len());
            let mut cache = model.cache(sequences_at_once(batch, tokens, step.block.parameters()), tokens)?;
            #[allow(clippy::cast_possible_truncation, reason = "a seed; wrapping is harmless")]
            let seed = config.seed ^ (step.index as u32).wrapping_mul(0x9E37_79B1);
            let best = training.train(step, &mut cache, seed, progress).await?;
            training.put(&mut step.block)?;
            // Few iterations take long steps, and the last of them may have led astray, as far as to what is no number.
            let keep_best =
                config.keep_best || step.loss(model).await?.partial_cmp(&loss_before).is_none_or(Ordering::is_gt);
            let best_iteration = Some(if keep_best { best.iteration } else { config.iters });
            let parts = training.finish(keep_best).await?;
            progress.end();
            Ok(BlockResult { parts, loss_before: Some(loss_before), best_iteration })
        })
    }

    fn tuning(&self) -> Option<(TuneConfig, u32)> {
        Some((self.config.tune, self.config.seed)).filter(|(tune, _)| tune.tune_iters > 0)
    }
}
