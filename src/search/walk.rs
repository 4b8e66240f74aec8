//! A plan put in place block by block, each step measured with all that was accepted before it.

use std::collections::BTreeMap;

use super::LayerCandidates;
use super::facts::State;
use super::stage::Stage;
use super::trials::{On, Trials};
use crate::error::Result;
use crate::export::{CodesFrom, SearchPhase, SearchQuality, SearchStep};
use crate::scheme::{Plan, Scheme};

/// How often the plan of a block is mended before what it costs is left to the whole.
const MENDS: usize = 1;

/// What a walk goes by.
pub(super) struct Rules<'a> {
    /// What each layer could get.
    pub(super) layers: &'a [LayerCandidates],
    /// Whether layers are tied, so that a plan cannot be mended one by one.
    pub(super) tied: bool,
    /// What a block may cost, as a multiple of what is expected of it; infinite where size is the goal.
    pub(super) multiplier: f64,
    /// Steps of learned rounding; 0 does without.
    pub(super) iters: u32,
    /// Whether cheaper codes are not tried first: learned ones leave more room for fewer bytes.
    pub(super) learned_only: bool,
    /// In which part of the search this is.
    pub(super) phase: SearchPhase,
    /// Bytes of the layers in the original.
    pub(super) original: &'a BTreeMap<String, u64>,
}

/// What came of a walk.
pub(super) struct Walked {
    /// The plan as it was mended.
    pub(super) plan: Plan,
    /// The codes.
    pub(super) state: State,
    /// What each block cost more than those before it, in nats a token, and what was expected; none where nothing was done.
    pub(super) costs: Vec<Option<[f64; 2]>>,
    /// All that was tried. What has no reason against it was taken.
    pub(super) steps: Vec<SearchStep>,
}

impl Rules<'_> {
    fn layer(&self, path: &str) -> Option<&LayerCandidates> {
        self.layers.iter().find(|layer| layer.path == path)
    }

    /// What layers are expected to cost by a plan.
    pub(super) fn expected<'p>(&self, plan: &Plan, paths: impl IntoIterator<Item = &'p String>) -> f64 {
        let of = |path: &String| {
            let scheme = plan.get(path)?;
            Some(self.layer(path)?.candidates.iter().find(|candidate| candidate.scheme == scheme)?.loss)
        };
        paths.into_iter().filter_map(of).sum()
    }

    /// Bytes of all layers in a state.
    pub(super) fn bytes(&self, state: &State) -> u64 {
        let of = |path: &String, original: &u64| {
            let scheme = state.get(path).map(|made| made.scheme);
            let candidates = self.layer(path).map_or(&[][..], |layer| &layer.candidates);
            let found = candidates.iter().find(|candidate| Some(candidate.scheme) == scheme);
            found.map_or(*original, |candidate| candidate.bytes)
        };
        self.original.iter().map(|(path, original)| of(path, original)).sum()
    }

    /// The upgrade of one layer of a block that takes away most of its loss for a byte.
    fn upgraded(&self, plan: &Plan, paths: &[String]) -> Option<Plan> {
        let better = |path: &'_ String| -> Option<(f64, String, Scheme)> {
            let now = plan.get(path)?;
            let all = &self.layer(path)?.candidates;
            let now = all.iter().find(|candidate| candidate.scheme == now)?;
            let more = all.iter().filter(|other| other.bytes > now.bytes && other.loss < now.loss);
            let gain = |other: &super::Candidate| (now.loss - other.loss) / (other.bytes - now.bytes) as f64;
            let best = more.max_by(|a, b| gain(a).total_cmp(&gain(b)))?;
            Some((gain(best), path.clone(), best.scheme))
        };
        let (_, path, scheme) = paths.iter().filter_map(better).max_by(|a, b| a.0.total_cmp(&b.0))?;
        let mut plan = plan.clone();
        plan.insert(path, scheme);
        Some(plan)
    }

    /// One step for each scheme that a block gets.
    pub(super) fn steps(
        &self,
        before: &State,
        after: &State,
        codes: &State,
        expected: Option<f64>,
        measured: SearchQuality,
        rolled_back: Option<&str>,
    ) -> Vec<SearchStep> {
        let mut steps: Vec<SearchStep> = Vec::new();
        let bytes = self.bytes(after);
        for (path, made) in codes {
            let from = before.get(path).map(|made| made.scheme);
            match steps.iter_mut().find(|step| (step.from, step.to) == (from, made.scheme)) {
                Some(step) => step.layers.push(path.clone()),
                None => steps.push(SearchStep {
                    phase: self.phase,
                    layers: vec![path.clone()],
                    from,
                    to: made.scheme,
                    codes: made.from,
                    predicted: expected.map(|kl| SearchQuality { perplexity: None, kl: Some(kl) }),
                    measured,
                    bytes,
                    rolled_back: rolled_back.map(str::to_owned),
                }),
            }
        }
        steps
    }
}

/// Puts a plan in place from a block on; what `state` holds of the blocks before it stays. Each block takes codes rounded to
/// nearest, searched or learned: the first that cost no more than is expected of the block. A block that costs more than the
/// rules allow with all of them goes back to what it was and is tried with more bytes.
pub(super) async fn walk(
    trials: &mut Trials,
    rules: &Rules<'_>,
    plan: &Plan,
    state: &State,
    first: usize,
    stage: &mut Stage<'_>,
) -> Result<Walked> {
    let kept = state.iter().filter(|(path, _)| trials.block_of(path) < first);
    let mut accepted: State = kept.map(|(path, made)| (path.clone(), made.clone())).collect();
    let mut walked = Walked { plan: plan.clone(), state: State::new(), costs: vec![None; first], steps: Vec::new() };
    let mut total = trials.measure(On::Decide, &accepted, first, stage).await?.kl;
    for block in first..trials.blocks.len() {
        let paths = trials.blocks[block].clone();
        let mut left = if rules.tied || rules.multiplier.is_infinite() { 0 } else { MENDS };
        let (codes, cost, expected) = loop {
            let share = rules.expected(&walked.plan, &paths);
            let (codes, after, quality) =
                cheapest(trials, rules, &walked.plan, &accepted, (block, total, share), stage).await?;
            let cost = after - total;
            let mut next = accepted.clone();
            next.extend(codes.clone());
            let expected = total + share;
            let mended = rules.upgraded(&walked.plan, &paths).filter(|_| left > 0 && cost > rules.multiplier * share);
            let why = mended.is_some().then(|| {
                format!("it cost {cost:.5} nats a token, {:.1} times what was expected of the block", cost / share)
            });
            walked.steps.extend(rules.steps(&accepted, &next, &codes, Some(expected), quality, why.as_deref()));
            match mended {
                // What was accepted is as it was.
                Some(plan) => (walked.plan, left) = (plan, left - 1),
                None => break (codes, cost, share),
            }
        };
        accepted.extend(codes);
        total += cost;
        walked.costs.push(Some([cost, expected]));
        stage.piece(&format!("block {} of {}, {total:.4} nats a token", block + 1, trials.blocks.len()));
    }
    walked.state = accepted;
    Ok(walked)
}

/// The cheapest kind of codes for a block that costs no more than its share, or learned ones; and the divergence of the model
/// with them.
async fn cheapest(
    trials: &mut Trials,
    rules: &Rules<'_>,
    plan: &Plan,
    accepted: &State,
    (block, total, share): (usize, f64, f64),
    stage: &mut Stage<'_>,
) -> Result<(State, f64, SearchQuality)> {
    let kinds = [CodesFrom::Rtn, CodesFrom::Searched, CodesFrom::Learned];
    let kinds = match (rules.iters, rules.learned_only) {
        (0, _) => &kinds[..2],
        (_, false) => &kinds[..],
        (_, true) => &kinds[2..],
    };
    let mut best: Option<(State, f64, SearchQuality)> = None;
    for kind in kinds {
        let iters = if *kind == CodesFrom::Learned { rules.iters } else { 0 };
        let codes = trials.codes(block, plan, accepted, *kind, iters, stage).await?;
        let mut next = accepted.clone();
        next.extend(codes.clone());
        let measured = trials.measure(On::Decide, &next, block, stage).await?;
        let better = best.as_ref().is_none_or(|(_, kl, _)| measured.kl < *kl);
        if better {
            best = Some((codes, measured.kl, SearchQuality::new(measured.perplexity(), measured.kl)));
        }
        if measured.kl - total <= share {
            break;
        }
    }
    Ok(best.unwrap_or_else(|| (State::new(), total, SearchQuality::default())))
}
