//! What a search can try: make codes for a block, and measure a model with codes in place. Nothing is done twice.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::facts::{Facts, Made, State, digest};
use super::parts::Parts;
use super::{GradualEvaluator, Measured, MixedPrecisionConfig, Prefix, swap_in};
use crate::calib::{CalibratedBlock, CalibrationDataset, Calibrator, Inputs};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::export::CodesFrom;
use crate::model::StreamedModel;
use crate::op::{quantize, quantize_ternary};
use crate::pack::PackedTensor;
use crate::progress::Progress;
use crate::quant::{
    BlockJob, BlockQuantizer, Learned, LearnedConfig, NamedLayer, QuantizedLayer, QuantizedPart, Rtn, RtnConfig,
    TuneConfig, joined, layers_of_blocks, tune, tune_bytes,
};
use crate::scheme::{Plan, TernaryRule};

/// Which sequences are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// Those that steps are decided by.
    Decide,
    /// Those that whole models are checked on.
    HeldOut,
}

/// A model on trial.
pub(super) struct Trials {
    model: Rc<StreamedModel>,
    learn: CalibrationDataset,
    tune: CalibrationDataset,
    decide: GradualEvaluator,
    held_out: GradualEvaluator,
    batch_size: usize,
    seed: u32,
    /// What was found out.
    pub(super) facts: Facts,
    /// The layers to quantize, of each block.
    pub(super) blocks: Vec<Vec<String>>,
    /// Activations in front of a block with the codes of this checksum in the blocks before it.
    prefix: Option<(String, Prefix)>,
    walk: Option<Walk>,
}

/// A walk through the model with the sequences to learn from, which stands at a block.
struct Walk {
    calibrator: Calibrator,
    at: CalibratedBlock,
    /// Checksum of the codes in the blocks before it.
    before: String,
}

impl Trials {
    /// Lets the original read what is measured; `plan` names the layers that will be quantized.
    pub(super) async fn new(
        model: Rc<StreamedModel>,
        parts: Parts,
        config: &MixedPrecisionConfig,
        plan: &Plan,
        facts: Facts,
    ) -> Result<Self> {
        let blocks = layers_of_blocks("gradual", &model, plan)?;
        let decide = GradualEvaluator::new(model.clone(), &parts.decide).await?;
        let held_out = GradualEvaluator::new(model.clone(), &parts.held_out).await?;
        let (batch_size, seed) = (config.batch_size, config.seed);
        let (Parts { learn, tune, .. }, prefix, walk) = (parts, None, None);
        Ok(Self { model, learn, tune, decide, held_out, batch_size, seed, facts, blocks, prefix, walk })
    }

    /// The model.
    pub(super) fn model(&self) -> &StreamedModel {
        &self.model
    }

    fn device(&self) -> Device {
        self.model.device().clone()
    }

    /// What measures on these sequences.
    pub(super) fn evaluator(&self, on: On) -> &GradualEvaluator {
        match on {
            On::Decide => &self.decide,
            On::HeldOut => &self.held_out,
        }
    }

    /// The block of a layer.
    pub(super) fn block_of(&self, path: &str) -> usize {
        self.blocks.iter().position(|layers| layers.iter().any(|layer| layer == path)).unwrap_or(0)
    }

    /// A checksum of the codes in the first blocks.
    fn before(&self, state: &State, block: usize) -> String {
        digest(state, |path| self.block_of(path) < block).to_string()
    }

    fn read(&self, state: &State, block: usize) -> Result<BTreeMap<String, PackedTensor>> {
        let of = |path: &String| state.get(path).map(|made| Ok((path.clone(), self.facts.read(made)?.weight)));
        self.blocks[block].iter().filter_map(of).collect()
    }

    /// Measures the model with these codes. `from` is the first block in which the next states to be measured may differ.
    pub(super) async fn measure(
        &mut self,
        on: On,
        state: &State,
        from: usize,
        progress: &dyn Progress,
    ) -> Result<Measured> {
        let key = format!("{on:?} {}", digest(state, |_| true));
        if let Some(measured) = self.facts.measured(&key) {
            return Ok(measured);
        }
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        let device = self.device();
        let measured = {
            let change = |block: usize, loaded: &mut _| {
                if progress.cancelled() {
                    return Err(Error::Cancelled);
                }
                let codes = self.read(state, block)?;
                swap_in(&device, loaded, |path| codes.get(path))
            };
            let evaluator = self.evaluator(on);
            let before = |next: usize| format!("{on:?} {}", self.before(state, next));
            let held = self.prefix.as_ref().filter(|(of, at)| at.next() <= from && *of == before(at.next()));
            let mut prefix = match held {
                Some((_, prefix)) => prefix.clone(),
                None => evaluator.start()?,
            };
            while prefix.next() < from {
                prefix = evaluator.advance(&prefix, change)?;
            }
            let of = before(prefix.next());
            let measured = evaluator.measure(&prefix, change).await?;
            self.prefix = Some((of, prefix));
            measured
        };
        self.facts.keep_measured(key, measured)?;
        Ok(measured)
    }

    /// Codes for the layers of a block that the plan names; those before it compute with the codes they have in `state`,
    /// which only round to nearest does not see.
    pub(super) async fn codes(
        &mut self,
        block: usize,
        plan: &Plan,
        state: &State,
        from: CodesFrom,
        iters: u32,
        progress: &mut dyn Progress,
    ) -> Result<State> {
        let plan: Plan = plan.iter().filter(|(path, _)| self.blocks[block].iter().any(|own| own == path)).collect();
        let names: Vec<String> = plan.iter().map(|(path, scheme)| format!("{path}:{scheme}")).collect();
        let seen = if from == CodesFrom::Rtn { String::new() } else { self.before(state, block) };
        let key = format!("{from:?} {iters} {seen} {}", names.join(" "));
        if let Some(codes) = self.facts.codes(&key) {
            return Ok(codes);
        }
        let (ternary, others): (Vec<_>, Vec<_>) = plan.iter().partition(|(_, scheme)| scheme.bits().is_ternary());
        let (ternary, others): (Plan, Plan) = (ternary.into_iter().collect(), others.into_iter().collect());
        // Three levels are chosen one way, whatever becomes of the others.
        let mut parts = self.nearest(block, &ternary).await?;
        parts.extend(match from {
            _ if others.is_empty() => Vec::new(),
            CodesFrom::Rtn => self.nearest(block, &others).await?,
            CodesFrom::Searched => {
                let rtn = Rtn::new(RtnConfig { search: true, ..RtnConfig::default() })?;
                self.with(&rtn, block, &others, state, progress).await?
            }
            // Blocks are tuned together only.
            CodesFrom::Learned | CodesFrom::Tuned => {
                let (batch_size, seed, tune) = (self.batch_size, self.seed, TuneConfig::NONE);
                let learned =
                    Learned::new(LearnedConfig { iters, batch_size, seed, tune, ..LearnedConfig::default() })?;
                self.with(&learned, block, &others, state, progress).await?
            }
        });
        let layers: Vec<NamedLayer> = joined(parts)?;
        self.facts.keep_codes(key, from, &layers)
    }

    /// The codes of a state, tuned together for so many steps.
    pub(super) async fn tuned(&mut self, state: &State, iters: u32, progress: &mut dyn Progress) -> Result<State> {
        let key = format!("{:?} {iters} {}", CodesFrom::Tuned, digest(state, |_| true));
        if let Some(codes) = self.facts.codes(&key) {
            return Ok(codes);
        }
        let layers = self.layers(state.iter()).collect::<Result<Vec<_>>>()?;
        let config = TuneConfig { tune_iters: iters, ..TuneConfig::NONE };
        let tuned = tune(&self.model, layers, &self.tune, &config, self.seed, progress).await?;
        self.facts.keep_codes(key, CodesFrom::Tuned, &tuned.layers)
    }

    /// An error where the device has no room for that: hours may lie before it. Where an earlier run found something out, it is
    /// one that leaves that in place, as there may be room later.
    pub(super) fn reserve_for_tuning(&self) -> Result<()> {
        let (device, bytes) = (self.device(), tune_bytes(&self.model, &self.tune, &TuneConfig::default())?);
        device.reserve(bytes).map_err(|error| {
            let what =
                format!("tuning all blocks together, which takes {:.1} GB at once ({error})", bytes as f64 / 1e9);
            let remedy = "leave it out (--tune-iters 0), or take fewer --tune-samples and --calib-samples, or a device with more memory";
            match self.facts.is_empty() {
                true => Error::Unsupported { what, remedy: remedy.into() },
                false => Error::Device {
                    device: device.caps().name.clone(),
                    detail: format!("there is no room for {what}; free some memory, or start again: {remedy}"),
                },
            }
        })
    }

    async fn nearest(&self, block: usize, plan: &Plan) -> Result<Vec<QuantizedPart>> {
        let (device, loaded) = (self.device(), self.model.block(block)?);
        let mut parts = Vec::new();
        for linear in loaded.linears().into_iter().flatten() {
            let Some(scheme) = plan.get(linear.path()) else { continue };
            let weight = linear.original()?.read(&device).await?;
            let (weight, error) = match scheme.bits().is_ternary() {
                true => quantize_ternary(&device, &weight, scheme, TernaryRule::Mse, linear.path()).await?,
                false => quantize(&device, &weight, &scheme.into(), linear.path()).await?,
            };
            let layer = QuantizedLayer { weight, error };
            parts.push(QuantizedPart { path: linear.path().to_owned(), rows: linear.rows(), layer });
        }
        Ok(parts)
    }

    /// A method's codes, for what the blocks before give.
    async fn with(
        &mut self,
        method: &dyn BlockQuantizer,
        block: usize,
        plan: &Plan,
        state: &State,
        progress: &mut dyn Progress,
    ) -> Result<Vec<QuantizedPart>> {
        let mut walk = self.go_to(block, state, progress).await?;
        walk.at.block = self.model.block(block)?;
        let job = BlockJob { model: &self.model, step: &mut walk.at, plan, progress };
        let parts = method.quantize(job).await?.parts;
        self.walk = Some(walk);
        Ok(parts)
    }

    /// The walk, standing at a block.
    async fn go_to(&mut self, block: usize, state: &State, progress: &dyn Progress) -> Result<Walk> {
        let held =
            self.walk.take().filter(|walk| walk.at.index <= block && walk.before == self.before(state, walk.at.index));
        let missing = || Error::Shape { op: "search", expected: "a block".into(), found: block.to_string() };
        let mut walk = match held {
            Some(walk) => walk,
            None => {
                let mut calibrator = Calibrator::new(self.model.clone(), &self.learn, Inputs::Quantized)?;
                let at = calibrator.enter().await?.ok_or_else(missing)?;
                Walk { calibrator, at, before: self.before(state, 0) }
            }
        };
        while walk.at.index < block {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            let Walk { mut calibrator, mut at, .. } = walk;
            let codes = self.read(state, at.index)?;
            at.block = self.model.block(at.index)?;
            swap_in(self.model.device(), &mut at.block, |path| codes.get(path))?;
            calibrator.leave(at).await?;
            let at = calibrator.enter().await?.ok_or_else(missing)?;
            walk = Walk { calibrator, before: self.before(state, at.index), at };
        }
        Ok(walk)
    }

    /// The layers of a state, read one after the other.
    pub(super) fn layers<'s>(
        &'s self,
        state: impl Iterator<Item = (&'s String, &'s Made)> + 's,
    ) -> impl Iterator<Item = Result<NamedLayer>> + 's {
        state.map(|(path, made)| Ok(NamedLayer { path: path.clone(), layer: self.facts.read(made)? }))
    }
}
