//! The method `gradual`: a search that decides on schemes and codes, and hands the codes out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use super::course::{Limit, Search};
use super::facts::Facts;
use super::history::History;
use super::parts::{Counts, Parts};
use super::sensitivity::{importance_of, sensitivity};
use super::trials::{On, Trials};
use super::{AcceptedStore, Goal, LayerCandidates, MixedPrecisionConfig};
use crate::error::{Error, Result};
use crate::export::{HeldOut, SearchGoal, SearchMemory, SearchQuality, SearchRecord, SearchedLayer};
use crate::op::{LayerInput, weight_error};
use crate::quant::{
    LayerChoice, LayerJob, LayerQuantizer, Observation, ObserveJob, ObservingQuantizer, QuantizedLayer, Quantizer,
    Task, TuneConfig, Way,
};
use crate::scheme::{Plan, Scheme};

/// Tokens of a sequence as `--evaluation-samples` counts them: of shorter ones there are more, of longer ones fewer.
const SEQUENCE: usize = 256;
/// The fewest sequences that whole models are checked on, whatever their length.
const LEAST: usize = 16;

/// Gradual quantization with checked settings: looks for the fewest bytes inside a budget of quality, or for the best
/// quality inside a size, by measuring.
///
/// ```no_run
/// use bitsmith::quant::{QuantizeRequest, quantize_model};
/// use bitsmith::search::{GradualQuantizer, MixedPrecisionConfig};
/// use bitsmith::{Device, progress::Silent};
/// # let data = bitsmith::calib::CalibrationDataset::from_sequences(vec![vec![1, 2, 3]])?;
/// let config = MixedPrecisionConfig::builder().max_perplexity_increase("5%").build()?;
/// let gradual = GradualQuantizer::new(config)?;
/// let request = QuantizeRequest::new("examples/tiny-llama", "tiny-llama-mixed").calibration(data);
/// let done = pollster::block_on(quantize_model(&Device::cpu(), &gradual, &request, &mut Silent))?;
/// println!("{} bytes", done.record.sizes.quantized_bytes);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct GradualQuantizer {
    config: MixedPrecisionConfig,
    scheme: Scheme,
    /// What was found, until it is written.
    found: RefCell<Option<AcceptedStore>>,
}

impl GradualQuantizer {
    /// Checks the settings.
    ///
    /// # Errors
    /// As [`MixedPrecisionConfig::check`].
    pub fn new(config: MixedPrecisionConfig) -> Result<Self> {
        config.check()?;
        let ladder = config.ladder()?;
        let scheme = ladder.schemes().first().copied();
        let scheme = scheme.ok_or_else(|| Error::config("bits_ladder", "it has no rung"))?;
        Ok(Self { config, scheme, found: RefCell::new(None) })
    }

    /// The settings.
    pub fn config(&self) -> &MixedPrecisionConfig {
        &self.config
    }

    /// How many sequences of so many tokens there are to be for each use.
    pub(super) fn counts(&self, seq_len: usize) -> Counts {
        let MixedPrecisionConfig { calib_samples, evaluation_samples, tune_iters, tune_samples, .. } = self.config;
        let as_many_tokens = |samples: usize| samples.saturating_mul(SEQUENCE) / seq_len.max(1);
        let checked = as_many_tokens(evaluation_samples).max(LEAST.min(evaluation_samples));
        // What is learned is learned from tokens, however they are cut.
        let learned = calib_samples.max(as_many_tokens(calib_samples));
        let tuning = TuneConfig { tune_iters, ..TuneConfig::NONE };
        let tuned = if self.config.tunes() { tune_samples.unwrap_or_else(|| tuning.samples(seq_len)) } else { 0 };
        Counts {
            calibration: learned.saturating_add(learned / 4),
            evaluation: checked,
            further: tuned.saturating_sub(learned),
        }
    }

    async fn search(&self, job: ObserveJob<'_>, history: &mut History, facts: Facts) -> Result<SearchRecord> {
        let start = Instant::now();
        let ObserveJob { model, data, footprint, plan, fingerprint, progress, .. } = job;
        let model = Rc::new(model);
        let counts = self.counts(data.seq_len());
        // Of a text whose length the user chose, tuning takes all, unless they chose that too.
        let all = counts.further > 0 && self.config.tune_samples.is_none();
        let parts = Parts::of(data, Counts { further: if all { usize::MAX } else { counts.further }, ..counts })?;
        let size = footprint.size();
        let planned = plan.unwrap_or(&fingerprint.plan);
        progress.begin("reading with the original", 1);
        let mut trials = Trials::new(model, parts, &self.config, planned, facts).await?;
        progress.advance(1, "");
        progress.end();
        let ternary = plan.is_some_and(|plan| plan.iter().any(|(_, scheme)| scheme.bits().is_ternary()));
        if self.config.tunes() && !ternary {
            trials.reserve_for_tuning()?;
        }
        let bytes_of = |path: &str, scheme| {
            let layer = footprint.layer(path)?;
            footprint.bytes(layer, scheme)
        };
        let layers = match plan {
            Some(plan) => of_plan(plan, bytes_of)?,
            None => sensitivity(&mut trials, &self.config, footprint, progress).await?,
        };
        let limit = match (plan, self.config.goal()?) {
            (Some(_), _) => Limit::Plan,
            (None, Goal::Quality(budgets)) => Limit::Quality(budgets),
            (None, Goal::Size(target)) => {
                let least = super::PrecisionOptimizer::new(&layers, &[])?.fewest_bytes().bytes;
                Limit::Bytes(target.layer_bytes(size, least)?)
            }
        };
        let importance = if plan.is_some() { Vec::new() } else { importance_of(&layers, &self.config) };
        let original: BTreeMap<String, u64> = footprint
            .layers()
            .iter()
            .map(|layer| (layer.path.clone(), (layer.rows * layer.cols * layer.dtype.bytes()) as u64))
            .collect();
        let mut search =
            Search { trials: &mut trials, config: &self.config, limit, layers, original, history, progress };
        let held = search.run(plan).await?;
        let peak = trials.model().device().memory().peak;
        let goal = match limit {
            Limit::Quality(budgets) => SearchGoal {
                max_perplexity_increase: budgets.perplexity.map(super::Increase::fraction),
                max_kl: budgets.kl,
                layer_bytes: None,
            },
            Limit::Bytes(bytes) => SearchGoal { layer_bytes: Some(bytes), ..SearchGoal::default() },
            Limit::Plan => SearchGoal::default(),
        };
        let within = match limit {
            Limit::Quality(budgets) => Some(budgets.allow(held.measured.increase(), held.measured.kl)),
            Limit::Bytes(_) | Limit::Plan => None,
        };
        let evaluator = trials.evaluator(On::HeldOut);
        let layers = held.state.iter().map(|(path, made)| SearchedLayer {
            path: path.clone(),
            scheme: made.scheme,
            codes: made.from,
            bytes: bytes_of(path, made.scheme).unwrap_or(0),
        });
        let mut layers: Vec<SearchedLayer> = layers.collect();
        let place = |path: &str| footprint.layers().iter().position(|layer| layer.path == path);
        layers.sort_by_key(|layer| place(&layer.path));
        Ok(SearchRecord {
            goal,
            original_perplexity: trials.evaluator(On::Decide).original().perplexity(),
            layers,
            importance,
            steps: Vec::new(),
            memory: SearchMemory { before: size.original_bytes, after: size.kept_bytes + held.bytes, peak: Some(peak) },
            held_out: Some(HeldOut {
                samples: evaluator.sequences(),
                tokens: evaluator.tokens(),
                original_perplexity: evaluator.original().perplexity(),
                quality: SearchQuality::new(held.measured.perplexity(), held.measured.kl),
                within_budget: within,
            }),
            seconds: start.elapsed().as_secs_f64(),
        })
    }
}

/// The one candidate of each layer.
fn of_plan(plan: &Plan, bytes: impl Fn(&str, Scheme) -> Option<u64>) -> Result<Vec<LayerCandidates>> {
    let layer = |(path, scheme): (&str, Scheme)| {
        let bytes = bytes(path, scheme).ok_or_else(|| {
            Error::config("plan", format!("{path} cannot be {scheme} in this format; take another scheme or --format"))
        })?;
        Ok(LayerCandidates { path: path.to_owned(), candidates: vec![super::Candidate { scheme, bytes, loss: 0.0 }] })
    };
    plan.iter().map(layer).collect()
}

impl Quantizer for GradualQuantizer {
    fn name(&self) -> &'static str {
        "gradual"
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(&self.config).unwrap_or_default()
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn way(&self, _: bool) -> Way<'_> {
        Way::Observed(self)
    }
}

impl ObservingQuantizer for GradualQuantizer {
    fn samples(&self, seq_len: usize) -> usize {
        self.counts(seq_len).total()
    }

    fn needs_text(&self) -> bool {
        true
    }

    fn observe<'a>(&'a self, job: ObserveJob<'a>) -> Task<'a, Observation> {
        Box::pin(async move {
            if let (Some(_), Some(goal)) = (job.plan, self.config.given_goal()) {
                let detail = format!("it says the schemes already, and {goal} what to look for; leave one of them out");
                return Err(Error::config("plan", detail));
            }
            // What an earlier run found holds the lock of its folder, which may be this one.
            drop(self.found.take());
            let (state, total) = (job.state, job.footprint.layers().len());
            let store = AcceptedStore::open(state, job.fingerprint, job.resume)?;
            let record = match store.finished() {
                Some(record) => {
                    let record = record.clone();
                    *self.found.borrow_mut() = Some(store);
                    record
                }
                None => {
                    let facts = Facts::open(&state.join("facts"), job.resume)?;
                    let mut history = History::new(store);
                    let found = self.search(job, &mut history, facts).await;
                    let mut store = history.store();
                    match found {
                        Ok(record) => {
                            let record = SearchRecord { steps: store.steps().to_vec(), ..record };
                            store.finish(&record)?;
                            *self.found.borrow_mut() = Some(store);
                            record
                        }
                        Err(cause) => return Err(store.failed(cause, total)),
                    }
                }
            };
            let choice = |layer: &SearchedLayer| {
                let choice = LayerChoice { scheme: layer.scheme, input: LayerInput::Exact, observed: None };
                (layer.path.clone(), choice)
            };
            let choices = record.layers.iter().map(choice).collect();
            Ok(Observation { choices, search: Some(record) })
        })
    }
}

impl LayerQuantizer for GradualQuantizer {
    fn quantize<'a>(&'a self, job: &'a LayerJob<'a>) -> Task<'a, QuantizedLayer> {
        Box::pin(async move {
            let found = match &*self.found.borrow() {
                Some(store) => store.layer(job.path)?,
                None => None,
            };
            let layer = found.filter(|layer| layer.weight.scheme == job.scheme).ok_or_else(|| Error::Shape {
                op: "gradual",
                expected: format!("codes of {} as {} from the search", job.path, job.scheme),
                found: "none".into(),
            })?;
            let error = weight_error(job.device, &job.weight, &layer.weight).await?;
            Ok(QuantizedLayer { weight: layer.weight, error })
        })
    }
}
