//! The search as a whole: plans are proposed, put in place, measured, and mended until the goal is met.

use std::collections::BTreeMap;

use super::facts::State;
use super::history::History;
use super::moves;
use super::stage::Stage;
use super::trials::{On, Trials};
use super::walk::{Rules, Walked, walk};
use super::{
    Budgets, LayerCandidates, Measured, MixedPrecisionConfig, PrecisionOptimizer, SourceScores, Split,
    source_allocation, source_budgets, source_importance,
};
use crate::error::{Error, Result};
use crate::export::{CodesFrom, SearchPhase, SearchQuality, SearchStep};
use crate::progress::Progress;
use crate::quant::fused;
use crate::scheme::Plan;

/// Plans that are put in place as a whole, at most.
const PLANS: usize = 4;
/// Moves of one layer or two that follow, at most, where codes are learned for each.
const MOVES: usize = 6;
/// Where they are not.
const CHEAP_MOVES: usize = 32;
/// Standard errors that are added to what is measured: a budget is to hold on other text of the kind, and the plan that is taken is
/// the luckiest of several.
const MARGIN: f64 = 2.0;
/// What is measured counts as so much more: text that neither the model nor the search has seen loses a little more.
const RESERVE: f64 = 1.06;
/// Moves that are expected to cost up to so many times the room that is left are tried where none fits: expectations are rough.
const BEYOND: [f64; 4] = [1.0, 1.5, 2.5, 5.0];
/// Where a plan was tried, more or less loss by this factor is asked for.
const NUDGE: f64 = 1.1;
/// How often.
const NUDGES: usize = 16;
/// The share of a budget that the next plan aims at.
const AIM: f64 = 0.985;
/// A plan that uses this share of a budget is not replaced as a whole.
const CLOSE: f64 = 0.95;
/// Plans for a size that are put in place.
const SIZED_PLANS: usize = 2;

/// What a search is to reach, in terms of the layers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// The fewest bytes within budgets.
    Quality(Budgets),
    /// The best quality within so many bytes.
    Bytes(u64),
    /// A plan as it is.
    Plan,
}

/// A model that is held: what would be kept if the search ended here.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) state: State,
    pub(super) bytes: u64,
    /// On the sequences that whole models are checked on.
    pub(super) measured: Measured,
    pub(super) plan: Plan,
    /// The share of the budgets.
    pub(super) used: f64,
}

/// A search under way.
pub(super) struct Search<'a> {
    pub(super) trials: &'a mut Trials,
    pub(super) config: &'a MixedPrecisionConfig,
    pub(super) limit: Limit,
    /// What each layer could get; losses are corrected by what is measured.
    pub(super) layers: Vec<LayerCandidates>,
    pub(super) original: BTreeMap<String, u64>,
    pub(super) history: &'a mut History,
    pub(super) progress: &'a mut dyn Progress,
}

/// The increase of perplexity and the divergence that are to be reckoned with on other text.
fn unseen(measured: &Measured) -> [f64; 2] {
    let Measured { difference, difference_error, kl, kl_error, .. } = measured;
    let increase = RESERVE * difference + MARGIN * difference_error;
    [increase.exp_m1(), RESERVE * kl + MARGIN * kl_error]
}

/// How much of the budgets is used, the statistical margin added.
pub(super) fn used(budgets: &Budgets, measured: &Measured) -> f64 {
    let [increase, kl] = unseen(measured);
    budgets.used(increase, kl)
}

impl Search<'_> {
    /// Searches.
    ///
    /// # Errors
    /// [`Error::Config`] for a budget that no plan can meet, which names the nearest; those of the trials.
    pub(super) async fn run(&mut self, plan: Option<&Plan>) -> Result<Held> {
        match (self.limit, plan) {
            (Limit::Plan, Some(plan)) => {
                let held = self.planned(plan).await?;
                self.better_tuned(held).await
            }
            (Limit::Bytes(bytes), _) => {
                let held = self.within_bytes(bytes).await?;
                self.better_tuned(held).await
            }
            (Limit::Quality(budgets), _) if self.config.tunes() => self.within_tuned(&budgets).await,
            (Limit::Quality(budgets), _) => {
                let held = self.within(&budgets).await?;
                self.finish(&budgets, held).await
            }
            (Limit::Plan, None) => Err(Error::config("plan", "there is none")),
        }
    }

    async fn planned(&mut self, plan: &Plan) -> Result<Held> {
        let walked =
            self.put(plan, &State::new(), SearchPhase::Walk, f64::INFINITY, "putting the plan in place").await?;
        let held = self.hold(&walked, None).await?;
        self.history.save(self.trials, walked.steps, &held.state)?;
        Ok(held)
    }

    async fn within_bytes(&mut self, bytes: u64) -> Result<Held> {
        let mut best: Option<Held> = None;
        let mut tried = Vec::new();
        for round in 0..SIZED_PLANS {
            let plan = self.optimizer()?.within_bytes(bytes)?.plan(&self.layers);
            if tried.contains(&plan) {
                break;
            }
            tried.push(plan.clone());
            let state = best.as_ref().map_or_else(State::new, |held: &Held| held.state.clone());
            let what = format!("putting plan {} in place", round + 1);
            let mut walked = self.put(&plan, &state, SearchPhase::Walk, f64::INFINITY, &what).await?;
            let held = self.hold(&walked, None).await?;
            self.correct(&walked);
            let better = best.as_ref().is_none_or(|best| held.measured.kl < best.measured.kl);
            if !better {
                let why = format!("as a whole it is worse: {:.5} nats a token", held.measured.kl);
                refuse(&mut walked.steps, &why);
            }
            self.history.save(self.trials, walked.steps, &held.state)?;
            if better {
                best = Some(held);
            }
        }
        best.ok_or_else(|| Error::config("target", "no plan was found"))
    }

    /// Whole plans, until one uses nearly all of the budgets.
    pub(super) async fn within(&mut self, budgets: &Budgets) -> Result<Held> {
        let mut best: Option<Held> = None;
        let (mut allowed, mut last, mut round) = (budgets.nats(), 1.0, 0);
        let (mut state, mut tried): (State, Vec<Plan>) = (State::new(), Vec::new());
        loop {
            if round >= PLANS && best.is_some() {
                break;
            }
            let Some((plan, finest)) = self.another(allowed, last, &tried)? else { break };
            tried.push(plan.clone());
            let phase = match round {
                0 => SearchPhase::Walk,
                _ if best.is_some() => SearchPhase::Downgrade,
                _ => SearchPhase::Upgrade,
            };
            round += 1;
            let what = format!("putting plan {round} in place");
            let mut walked = self.put(&plan, &state, phase, self.config.safety_multiplier, &what).await?;
            let held = self.hold(&walked, Some(budgets)).await?;
            self.correct(&walked);
            tracing::info!(round, bytes = held.bytes, used = held.used, allowed, "a plan is in place");
            let (fits, fewer) = (held.used <= 1.0, best.as_ref().is_none_or(|best| held.bytes < best.bytes));
            if !fits {
                refuse(&mut walked.steps, &over(&held));
            } else if !fewer {
                refuse(&mut walked.steps, "as a whole it takes no fewer bytes");
            }
            self.history.save(self.trials, walked.steps, &held.state)?;
            (state, last) = (held.state.clone(), held.used);
            if !fits && finest {
                return Err(impossible(budgets, &held));
            }
            // In terms of losses as they are corrected.
            let predicted: f64 = self.rules(SearchPhase::Walk, 1.0).expected(&held.plan, self.original.keys());
            allowed = predicted * (AIM / held.used.max(1e-3)).min(8.0);
            if fits && fewer {
                let learned = held.state.values().all(|made| made.from == CodesFrom::Learned);
                let close = held.used >= CLOSE && (learned || self.config.learned_iters == 0);
                best = Some(held);
                if close {
                    break;
                }
            }
        }
        best.ok_or_else(|| Error::config("budget", "no plan within it was found"))
    }

    /// Moves of one layer or two while there is room, each as large as it leaves.
    pub(super) async fn finish(&mut self, budgets: &Budgets, mut held: Held) -> Result<Held> {
        let mut tried = vec![held.plan.clone()];
        let rounds = match self.config.learned_iters {
            _ if self.config.tied => 0,
            0 => CHEAP_MOVES,
            _ => MOVES,
        };
        for round in 0..rounds {
            let predicted = self.rules(SearchPhase::Walk, 1.0).expected(&held.plan, self.original.keys());
            let unit = predicted / held.used.max(1e-3);
            let room = (unit - predicted).clamp(0.0, 8.0 * predicted);
            let best = |beyond| moves::best(&self.layers, &held.plan, beyond * room, &tried);
            let Some(made) = BEYOND.into_iter().find_map(best) else { break };
            let plan = made.applied(&held.plan);
            tried.push(plan.clone());
            let (next, steps) = self.moved(budgets, &held, plan, round).await?;
            tracing::info!(?made, bytes = next.bytes, used = next.used, "a move is tried");
            moves::correct(&mut self.layers, &held.plan, &made, (next.used - held.used) * unit);
            let fits = next.used <= 1.0 && next.bytes < held.bytes;
            let steps = steps.into_iter().map(|step| SearchStep { rolled_back: (!fits).then(|| over(&next)), ..step });
            self.history.save(self.trials, steps.collect(), &next.state)?;
            if fits {
                held = next;
            }
        }
        Ok(held)
    }

    /// The blocks anew in which a plan differs from what is held; all others stay as they are.
    async fn moved(
        &mut self,
        budgets: &Budgets,
        held: &Held,
        plan: Plan,
        round: usize,
    ) -> Result<(Held, Vec<SearchStep>)> {
        let differs = |path: &String| plan.get(path) != held.plan.get(path);
        let blocks = self.trials.blocks.iter().enumerate();
        let changed: Vec<usize> =
            blocks.filter(|(_, paths)| paths.iter().any(differs)).map(|(block, _)| block).collect();
        let iters = self.config.learned_iters;
        let kinds: &[CodesFrom] =
            if iters > 0 { &[CodesFrom::Learned] } else { &[CodesFrom::Rtn, CodesFrom::Searched] };
        let what = format!("using what room is left, move {}", round + 1);
        let mut stage = Stage::begin(self.progress, &what, changed.len());
        let mut state = held.state.clone();
        let mut made = State::new();
        for block in &changed {
            let mut best: Option<(f64, State)> = None;
            for kind in kinds {
                let codes = self.trials.codes(*block, &plan, &state, *kind, iters, &mut stage).await?;
                let mut next = state.clone();
                next.extend(codes.clone());
                let kl = match kinds.len() {
                    1 => 0.0,
                    _ => self.trials.measure(On::Decide, &next, *block, &stage).await?.kl,
                };
                if best.as_ref().is_none_or(|(least, _)| kl < *least) {
                    best = Some((kl, codes));
                }
            }
            let codes = best.map(|(_, codes)| codes).unwrap_or_default();
            state.extend(codes.clone());
            made.extend(codes);
            stage.piece(&format!("block {}", block + 1));
        }
        let first = changed.first().copied().unwrap_or(0);
        let measured = self.trials.measure(On::HeldOut, &state, first, &stage).await?;
        stage.finish();
        let rules = self.rules(SearchPhase::Downgrade, 1.0);
        let quality = SearchQuality::new(measured.perplexity(), measured.kl);
        let steps = rules.steps(&held.state, &state, &made, None, quality, None);
        let bytes = rules.bytes(&state);
        Ok((Held { used: used(budgets, &measured), state, bytes, measured, plan }, steps))
    }

    pub(super) fn rules(&self, phase: SearchPhase, multiplier: f64) -> Rules<'_> {
        let MixedPrecisionConfig { tied, learned_iters: iters, .. } = *self.config;
        Rules { layers: &self.layers, tied, multiplier, iters, learned_only: false, phase, original: &self.original }
    }

    fn optimizer(&self) -> Result<PrecisionOptimizer<'_>> {
        let ties =
            if self.config.tied { fused(self.layers.iter().map(|layer| layer.path.as_str())) } else { Vec::new() };
        PrecisionOptimizer::new(&self.layers, &ties)
    }

    /// A plan that is expected to lose so many nats a token, and whether it is the finest that there is.
    fn propose(&self, allowed: f64) -> Result<(Plan, bool)> {
        if self.config.split == Split::Source {
            let four = |layer: &LayerCandidates| {
                let all = layer.candidates.iter().filter(|candidate| candidate.scheme.bits().get() <= 4);
                let loss = all.max_by_key(|candidate| candidate.bytes).map_or(0.0, |candidate| candidate.loss);
                SourceScores { rtn_perplexity: loss, rtn_kl: loss, ..SourceScores::default() }
            };
            let importance = source_importance(&self.layers.iter().map(four).collect::<Vec<_>>());
            let budgets = source_budgets(allowed, self.config.safety_multiplier, &importance);
            return Ok((source_allocation(&self.layers, &budgets)?.plan(&self.layers), false));
        }
        let optimizer = self.optimizer()?;
        let finest = optimizer.least_loss();
        let found = if allowed > finest.loss { optimizer.within_loss(allowed)? } else { finest.clone() };
        let at_end = found.choice == finest.choice;
        Ok((found.plan(&self.layers), at_end))
    }

    /// The plan nearest to an expected loss that was not tried, in the direction of the budget: `used` is the share that the last
    /// one took of it. None if there is none near.
    fn another(&self, mut allowed: f64, used: f64, tried: &[Plan]) -> Result<Option<(Plan, bool)>> {
        for _ in 0..NUDGES {
            let (plan, finest) = self.propose(allowed)?;
            if !tried.contains(&plan) {
                return Ok(Some((plan, finest)));
            }
            allowed *= if used <= 1.0 { NUDGE } else { 1.0 / NUDGE };
        }
        Ok(None)
    }

    /// Puts a plan in place; what `state` holds of the first blocks stays, as far as the plan is the same.
    async fn put(
        &mut self,
        plan: &Plan,
        state: &State,
        phase: SearchPhase,
        multiplier: f64,
        what: &str,
    ) -> Result<Walked> {
        let same = |path: &String| state.get(path).map(|made| made.scheme) == plan.get(path);
        let blocks = &self.trials.blocks;
        let first = blocks.iter().position(|paths| !paths.iter().all(same)).unwrap_or(blocks.len());
        let mut stage = Stage::begin(self.progress, what, blocks.len() - first);
        let MixedPrecisionConfig { tied, learned_iters: iters, .. } = *self.config;
        // Once a plan was walked through, what counts is bytes; within a size, only quality does.
        let learned_only = phase != SearchPhase::Walk || multiplier.is_infinite();
        let (layers, original) = (&self.layers[..], &self.original);
        let rules = Rules { layers, tied, multiplier, iters, learned_only, phase, original };
        let walked = walk(self.trials, &rules, plan, state, first, &mut stage).await?;
        stage.finish();
        Ok(walked)
    }

    async fn hold(&mut self, walked: &Walked, budgets: Option<&Budgets>) -> Result<Held> {
        let bytes = self.rules(SearchPhase::Walk, 1.0).bytes(&walked.state);
        let measured = self.trials.measure(On::HeldOut, &walked.state, 0, self.progress).await?;
        let used = budgets.map_or(0.0, |budgets| used(budgets, &measured));
        Ok(Held { state: walked.state.clone(), bytes, measured, plan: walked.plan.clone(), used })
    }

    /// Brings the expected losses of blocks halfway to what was measured of them.
    fn correct(&mut self, walked: &Walked) {
        for (block, cost) in walked.costs.iter().enumerate() {
            let Some([cost, expected]) = cost else { continue };
            let factor = (cost / expected).clamp(0.25, 4.0).sqrt();
            if !factor.is_finite() {
                continue;
            }
            let paths = &self.trials.blocks[block];
            for layer in self.layers.iter_mut().filter(|layer| paths.contains(&layer.path)) {
                layer.candidates.iter_mut().for_each(|candidate| candidate.loss *= factor);
            }
        }
    }
}

/// Marks steps as rolled back.
fn refuse(steps: &mut [SearchStep], why: &str) {
    for step in steps.iter_mut().filter(|step| step.rolled_back.is_none()) {
        step.rolled_back = Some(why.to_owned());
    }
}

fn over(held: &Held) -> String {
    let Held { measured, used, .. } = held;
    format!(
        "the whole model takes {:.0} % of the budget on text held out: perplexity {:+.2} %, {:.5} nats a token",
        100.0 * used,
        100.0 * measured.increase(),
        measured.kl
    )
}

/// The error for a budget that the finest plan does not meet.
fn impossible(budgets: &Budgets, held: &Held) -> Error {
    let [increase, divergence] = unseen(&held.measured).map(|value| (value.max(0.0) * 1.05 * 1e6).ceil() / 1e6);
    let cannot = "cannot be reached: the finest rung of the ladder everywhere costs more; the nearest possible is";
    match (budgets.perplexity, budgets.kl) {
        (Some(wanted), _) if increase > wanted.fraction() => {
            Error::config("max_perplexity_increase", format!("{wanted} {cannot} {increase}"))
        }
        (_, wanted) => Error::config("max_kl", format!("{} {cannot} {divergence}", wanted.unwrap_or(0.0))),
    }
}
