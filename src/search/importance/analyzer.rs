//! The analysis: each layer and block changed by itself, and the model measured from there on.

use std::cell::Cell;
use std::time::Instant;

use super::forms::{Form, dress, noisy, rounded};
use super::{Finding, Importance, ImportanceConfig, Measure, MeasureCost, UnitImportance, predicted};
use crate::calib::CalibrationDataset;
use crate::error::{Error, Result};
use crate::model::LoadedBlock;
use crate::progress::Progress;
use crate::scheme::Scheme;
use crate::search::{GradualEvaluator, Measured, Prefix};

/// Measures how important the layers and blocks of a model are. What lies in front of a changed block is computed once, so
/// that n changes cost about n / 2 passes through the model; the prediction costs one pass there and one back.
///
/// [`Measure::Noise`] holds a second copy of the weights of all linear layers in memory, [`Measure::Upgrade`] their codes at
/// the lowest rung.
///
/// ```
/// use bitsmith::calib::CalibrationDataset;
/// use bitsmith::search::{GradualEvaluator, Importance, ImportanceAnalyzer, ImportanceConfig, Measure};
/// use bitsmith::{Device, model::StreamedModel, progress::Silent};
/// # pollster::block_on(async {
/// let model = StreamedModel::open("examples/tiny-llama".as_ref(), &Device::cpu())?;
/// let data = CalibrationDataset::from_sequences(vec![vec![1, 50, 60, 70, 80]])?;
/// let evaluator = GradualEvaluator::new(model, &data).await?;
/// let analyzer = ImportanceAnalyzer::new(&evaluator, &data, ImportanceConfig::default());
/// // Blocks alone, by one measure.
/// let blocks = analyzer.blocks(Measure::Disable, &mut Silent).await?;
/// assert_eq!((blocks.len(), blocks[3].path.as_str()), (4, "model.layers.3"));
/// // Layers and blocks, by the prediction and in one score.
/// let found = analyzer.analyze(&[Measure::Gradient], &mut Silent).await?;
/// assert!(found.layers.len() == 28 && Importance::ranked(&found.layers)[0].score > 0.5);
/// # Ok::<(), bitsmith::Error>(())
/// # })?;
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct ImportanceAnalyzer<'a> {
    evaluator: &'a GradualEvaluator,
    data: &'a CalibrationDataset,
    config: ImportanceConfig,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Layers,
    Blocks,
    Both,
}

/// A layer or block, and the places of its linear layers in the block: a layer of a checkpoint may be several.
struct Unit {
    importance: UnitImportance,
    places: Vec<usize>,
    is_block: bool,
}

impl<'a> ImportanceAnalyzer<'a> {
    /// Of the evaluator's original on the evaluator's sequences, which are `data`.
    pub fn new(evaluator: &'a GradualEvaluator, data: &'a CalibrationDataset, config: ImportanceConfig) -> Self {
        Self { evaluator, data, config }
    }

    /// How important each layer is, by one measure.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not fit; [`Error::Cancelled`]; [`Error::Unsupported`] for a model that is
    /// quantized; [`Error::Format`] or [`Error::NotFinite`] where a change leaves no numbers; those of reading the model and
    /// of the device.
    pub async fn layers(&self, measure: Measure, progress: &mut dyn Progress) -> Result<Vec<UnitImportance>> {
        Ok(self.found(&[measure], Scope::Layers, progress).await?.layers)
    }

    /// How important each block is, by one measure.
    ///
    /// # Errors
    /// As [`Self::layers`].
    pub async fn blocks(&self, measure: Measure, progress: &mut dyn Progress) -> Result<Vec<UnitImportance>> {
        Ok(self.found(&[measure], Scope::Blocks, progress).await?.blocks)
    }

    /// How important layers and blocks are, by several measures and in one score.
    ///
    /// # Errors
    /// As [`Self::layers`], and [`Error::Config`] for a combination that needs another measure.
    pub async fn analyze(&self, measures: &[Measure], progress: &mut dyn Progress) -> Result<Importance> {
        self.found(measures, Scope::Both, progress).await
    }

    async fn found(&self, measures: &[Measure], scope: Scope, progress: &mut dyn Progress) -> Result<Importance> {
        self.config.check(measures)?;
        let mut units = self.units(scope)?;
        let start = Instant::now();
        self.evaluator.measure(&self.evaluator.start()?, |_, _| Ok(())).await?;
        let mut found = Importance {
            settings: self.config.clone(),
            perplexity: self.evaluator.original().perplexity(),
            tokens: self.evaluator.tokens(),
            pass_seconds: start.elapsed().as_secs_f64(),
            ..Importance::default()
        };
        for measure in measures {
            let start = Instant::now();
            let (block_passes, whole_block_passes) = match measure {
                Measure::Gradient => self.predict(&mut units, progress).await?,
                measure => Changes::new(self, *measure).await?.run(&mut units, progress).await?,
            };
            let seconds = start.elapsed().as_secs_f64();
            found.costs.push(MeasureCost { measure: *measure, seconds, block_passes, whole_block_passes });
        }
        let (blocks, layers): (Vec<Unit>, Vec<Unit>) = units.into_iter().partition(|unit| unit.is_block);
        found.layers = layers.into_iter().map(|unit| unit.importance).collect();
        found.blocks = blocks.into_iter().map(|unit| unit.importance).collect();
        found.combine()?;
        Ok(found)
    }

    /// Layers and blocks in the order of the model, a block after its layers.
    fn units(&self, scope: Scope) -> Result<Vec<Unit>> {
        let model = self.evaluator.model();
        let mut units: Vec<Unit> = Vec::new();
        for index in 0..model.blocks() {
            let block = model.block(index)?;
            let first = units.len();
            let new = |path: &str, is_block| {
                let (path, findings) = (path.to_owned(), Vec::new());
                let importance = UnitImportance { path, block: index, weights: 0, findings, score: 0.0 };
                Unit { importance, places: Vec::new(), is_block }
            };
            let mut whole = new(&model.block_path(index), true);
            for (place, linear) in block.linears().into_iter().flatten().enumerate() {
                let weights = linear.shape().iter().product::<usize>() as u64;
                let own = units[first..].iter().position(|unit| unit.importance.path == linear.path());
                let own = own.map_or(units.len(), |own| first + own);
                if own == units.len() {
                    units.push(new(linear.path(), false));
                }
                for unit in [&mut units[own], &mut whole] {
                    unit.places.push(place);
                    unit.importance.weights += weights;
                }
            }
            units.push(whole);
        }
        units.retain(|unit| scope == Scope::Both || unit.is_block == (scope == Scope::Blocks));
        Ok(units)
    }

    async fn predict(&self, units: &mut [Unit], progress: &mut dyn Progress) -> Result<(u64, u64)> {
        let (model, rungs) = (self.evaluator.model(), &self.config.rungs);
        let errors = predicted(model, self.data, rungs, progress).await?;
        for unit in units.iter_mut() {
            let found = errors.of(unit.importance.block, &unit.places);
            let finding = |(scheme, [kl, difference]): (&Scheme, [f64; 2])| Finding {
                measure: Measure::Gradient,
                scheme: Some(*scheme),
                kl,
                increase: difference.exp_m1(),
            };
            unit.importance.findings.extend(rungs.iter().zip(found).map(finding));
        }
        // There, and once more within each block on the way back.
        Ok((2 * model.blocks() as u64, (units.len() * rungs.len() * model.blocks()) as u64))
    }
}

/// The changes of one measure.
struct Changes<'a> {
    analyzer: &'a ImportanceAnalyzer<'a>,
    measure: Measure,
    /// What the layers of each block compute with that are not changed; nothing of blocks that are as they were.
    base: Vec<Vec<Form>>,
    passes: Cell<u64>,
}

impl<'a> Changes<'a> {
    async fn new(analyzer: &'a ImportanceAnalyzer<'a>, measure: Measure) -> Result<Self> {
        let (model, config) = (analyzer.evaluator.model(), &analyzer.config);
        let mut base = Vec::new();
        for index in 0..if measure.recovers() { model.blocks() } else { 0 } {
            let block = model.block(index)?;
            base.push(match (measure, config.rungs.last()) {
                (Measure::Upgrade, Some(lowest)) => rounded(model.device(), &block, *lowest).await?,
                _ => {
                    // Blocks have far fewer linear layers than there are seeds between them.
                    let seed = config.seed.wrapping_add(u32::try_from(index << 10).unwrap_or_default());
                    noisy(model.device(), &block, config.noise, seed).await?
                }
            });
        }
        Ok(Self { analyzer, measure, base, passes: Cell::new(0) })
    }

    /// The changes that each layer of a block goes through, one after the other.
    async fn trials(&self, block: &LoadedBlock) -> Result<Vec<(Option<Scheme>, Vec<Form>)>> {
        let (device, rungs) = (self.analyzer.evaluator.device(), &self.analyzer.config.rungs);
        let same = |form: Form| vec![(None, vec![form; block.linears().into_iter().flatten().count()])];
        Ok(match (self.measure, rungs.first()) {
            (Measure::Rtn, _) => {
                let mut trials = Vec::with_capacity(rungs.len());
                for rung in rungs {
                    trials.push((Some(*rung), rounded(device, block, *rung).await?));
                }
                trials
            }
            (Measure::Upgrade, Some(highest)) => vec![(None, rounded(device, block, *highest).await?)],
            (Measure::Disable, _) => same(Form::Zero),
            _ => same(Form::Original),
        })
    }

    /// Measures the model behind a prefix, with some layers of block `index` changed.
    async fn measured(&self, prefix: &Prefix, index: usize, changed: &[Form], chosen: &[usize]) -> Result<Measured> {
        let change = |at: usize, block: &mut LoadedBlock| {
            let chosen = if at == index { chosen } else { &[] };
            self.dress(at, block, changed, chosen)
        };
        self.analyzer.evaluator.measure(prefix, change).await
    }

    fn dress(&self, index: usize, block: &mut LoadedBlock, changed: &[Form], chosen: &[usize]) -> Result<()> {
        self.passes.set(self.passes.get() + 1);
        let base = self.base.get(index).map_or(&[][..], Vec::as_slice);
        dress(self.analyzer.evaluator.device(), block, base, changed, chosen)
    }

    /// Adds what was found to the units. Returns the block passes that it took, and those that whole passes would take.
    async fn run(&self, units: &mut [Unit], progress: &mut dyn Progress) -> Result<(u64, u64)> {
        let evaluator = self.analyzer.evaluator;
        let (model, blocks) = (evaluator.model(), evaluator.model().blocks());
        let each = if self.measure == Measure::Rtn { self.analyzer.config.rungs.len() } else { 1 };
        let left = |unit: &Unit| (each * (blocks - unit.importance.block)) as u64;
        progress.begin(&format!("importance by {}", self.measure), units.iter().map(left).sum());
        let mut prefix = evaluator.start()?;
        let base = match self.measure.recovers() {
            true => Some(self.measured(&prefix, blocks, &[], &[]).await?),
            false => None,
        };
        for index in 0..blocks {
            let block = model.block(index)?;
            let trials = self.trials(&block).await?;
            drop(block);
            for unit in units.iter_mut().filter(|unit| unit.importance.block == index) {
                for (scheme, forms) in &trials {
                    if progress.cancelled() {
                        return Err(Error::Cancelled);
                    }
                    let measured = match unit.is_block && self.measure == Measure::Disable {
                        true => self.measured(&prefix.skipped(), index, &[], &[]).await?,
                        false => self.measured(&prefix, index, forms, &unit.places).await?,
                    };
                    if !measured.kl.is_finite() || !measured.nll.is_finite() {
                        let what =
                            format!("a token of the text a probability where {} is changed", unit.importance.path);
                        return Err(model.no_number(&what));
                    }
                    let (kl, increase) = match &base {
                        Some(base) => (base.kl - measured.kl, base.increase() - measured.increase()),
                        None => (measured.kl, measured.increase()),
                    };
                    unit.importance.findings.push(Finding { measure: self.measure, scheme: *scheme, kl, increase });
                }
                progress.advance(left(unit), &unit.importance.path);
            }
            prefix = evaluator.advance(&prefix, |at, block| self.dress(at, block, &[], &[]))?;
        }
        progress.end();
        Ok((self.passes.get(), (units.len() * each * blocks) as u64))
    }
}
