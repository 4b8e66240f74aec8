//! Small changes of a plan: one layer with fewer bytes, or one with fewer and another with more.

use super::{Candidate, LayerCandidates};
use crate::scheme::Plan;

/// Most of what a correction may change, as a factor, either way.
const MOST: f64 = 8.0;

/// A change of one layer or two.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Move {
    /// Layers, by path, and what they get.
    pub(super) layers: Vec<(String, Candidate)>,
    /// Bytes that it saves.
    pub(super) saved: u64,
    /// What it is expected to cost.
    pub(super) loss: f64,
}

impl Move {
    /// The plan after it.
    pub(super) fn applied(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        for (path, to) in &self.layers {
            plan.insert(path.clone(), to.scheme);
        }
        plan
    }
}

/// What a layer has, and what it could get instead.
struct Options<'a> {
    path: &'a str,
    others: Vec<(i64, f64, Candidate)>,
}

/// The move that saves most bytes of those that are expected to cost no more than `room` and do not lead to a plan that was
/// tried.
pub(super) fn best(layers: &[LayerCandidates], plan: &Plan, room: f64, tried: &[Plan]) -> Option<Move> {
    let options = layers.iter().filter_map(|layer| {
        let scheme = plan.get(&layer.path)?;
        let now = layer.candidates.iter().find(|candidate| candidate.scheme == scheme)?;
        let other = |to: &Candidate| {
            let saved = now.bytes.cast_signed() - to.bytes.cast_signed();
            (to.scheme != scheme && to.loss.is_finite()).then_some((saved, to.loss - now.loss, *to))
        };
        Some(Options { path: &layer.path, others: layer.candidates.iter().filter_map(other).collect() })
    });
    let options: Vec<Options<'_>> = options.collect();
    let mut best: Option<Move> = None;
    let mut offer = |saved: i64, loss: f64, layers: &[(&str, Candidate)]| {
        let better = best.as_ref().is_none_or(|best| {
            saved.cast_unsigned() > best.saved || (saved.cast_unsigned() == best.saved && loss < best.loss)
        });
        if saved > 0 && loss <= room && better {
            let layers = layers.iter().map(|(path, to)| ((*path).to_owned(), *to)).collect();
            let offered = Move { layers, saved: saved.cast_unsigned(), loss };
            if !tried.contains(&offered.applied(plan)) {
                best = Some(offered);
            }
        }
    };
    for (index, down) in options.iter().enumerate() {
        for (saved, loss, to) in down.others.iter().filter(|(saved, ..)| *saved > 0) {
            offer(*saved, *loss, &[(down.path, *to)]);
            for (_, up) in options.iter().enumerate().filter(|(other, _)| *other != index) {
                for (more, gain, finer) in up.others.iter().filter(|(more, gain, _)| *more < 0 && *gain < 0.0) {
                    offer(saved + more, loss + gain, &[(down.path, *to), (up.path, *finer)]);
                }
            }
        }
    }
    best
}

/// Corrects expected losses by what a move cost: the layers that it took down by all of it, others by the root where they would
/// go down to the same width.
pub(super) fn correct(layers: &mut [LayerCandidates], plan: &Plan, made: &Move, cost: f64) {
    let factor = (cost / made.loss).clamp(1.0 / MOST, MOST);
    if !factor.is_finite() || made.loss <= 0.0 {
        return;
    }
    for layer in layers {
        let Some(scheme) = plan.get(&layer.path) else { continue };
        let Some(now) = layer.candidates.iter().find(|candidate| candidate.scheme == scheme).copied() else { continue };
        let own = made.layers.iter().any(|(path, _)| *path == layer.path);
        let factor = if own { factor } else { factor.sqrt() };
        for candidate in &mut layer.candidates {
            let width = made.layers.iter().any(|(_, to)| to.scheme.bits() == candidate.scheme.bits());
            if width && candidate.bytes < now.bytes && candidate.loss > now.loss {
                candidate.loss = now.loss + (candidate.loss - now.loss) * factor;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Vec<LayerCandidates> {
        let candidate = |scheme: &str, bytes, loss| Candidate { scheme: scheme.parse().expect("known"), bytes, loss };
        let layer = |path: &str, size: u64, loss: f64| LayerCandidates {
            path: path.into(),
            candidates: vec![
                candidate("w8g32s", 8 * size, 0.0),
                candidate("w4g32s", 4 * size, loss),
                candidate("w2g32s", 2 * size, 10.0 * loss),
            ],
        };
        vec![layer("a", 100, 0.01), layer("b", 50, 0.04)]
    }

    fn plan(schemes: [&str; 2]) -> Plan {
        ["a", "b"].into_iter().zip(schemes.map(|scheme| scheme.parse().expect("known"))).collect()
    }

    #[test]
    fn one_layer_or_two_change() {
        let (layers, now) = (layers(), plan(["w8g32s", "w4g32s"]));
        let one = best(&layers, &now, 0.02, &[]).expect("room");
        // a to 4 bits saves 400, a to 2 bits and b to 8 saves 400 for more.
        assert_eq!((one.saved, one.applied(&now)), (400, plan(["w4g32s", "w4g32s"])));
        let two = best(&layers, &now, 0.02, &[plan(["w4g32s", "w4g32s"])]).expect("another");
        assert_eq!((two.saved, two.layers.len()), (200, 2), "a to 4 and b to 8");
        let two = best(&layers, &now, 0.07, &[]).expect("room");
        assert_eq!((two.saved, two.applied(&now)), (400, plan(["w4g32s", "w4g32s"])));
        assert_eq!(best(&layers, &plan(["w2g32s", "w2g32s"]), 9.0, &[]), None);
    }

    #[test]
    fn what_a_move_cost_is_learned_from() {
        let (mut layers, now) = (layers(), plan(["w4g32s", "w4g32s"]));
        let made = best(&layers, &now, 0.1, &[]).expect("room");
        assert_eq!(made.applied(&now), plan(["w2g32s", "w4g32s"]));
        correct(&mut layers, &now, &made, 4.0 * made.loss);
        let loss = |layer: usize, candidate: usize| layers[layer].candidates[candidate].loss;
        assert!((loss(0, 2) - (0.01 + 0.36)).abs() < 1e-12 && (loss(1, 2) - (0.04 + 0.72)).abs() < 1e-12);
        assert_eq!((loss(0, 1), loss(1, 0)), (0.01, 0.0));
    }
}
