//! The allocation of schemes against all plans there are, and on models of hundreds of layers.

use bitsmith::Random;
use bitsmith::Scheme;
use bitsmith::search::{Candidate, LayerCandidates, MixedPrecisionConfig, PrecisionOptimizer};
use proptest::prelude::*;

const SCHEMES: [&str; 5] = ["w8g32s", "w4g32s", "w4g128s", "w3g128s", "w2g32s"];

fn layers(costs: &[Vec<(u64, u16)>]) -> Vec<LayerCandidates> {
    let layer = |(index, costs): (usize, &Vec<(u64, u16)>)| LayerCandidates {
        path: format!("layers.{index}"),
        // Losses are multiples of 2^-10, whose sums are exact in any order; some are gains.
        candidates: costs
            .iter()
            .zip(SCHEMES)
            .map(|((bytes, loss), scheme)| Candidate {
                scheme: scheme.parse().unwrap(),
                bytes: *bytes,
                loss: (f64::from(*loss) - 40.0) / 1024.0,
            })
            .collect(),
    };
    costs.iter().enumerate().map(layer).collect()
}

/// Bytes and loss of every plan that honours the ties.
fn all_plans(layers: &[LayerCandidates], ties: &[Vec<usize>]) -> Vec<(u64, f64)> {
    let mut plans: Vec<Vec<Candidate>> = vec![Vec::new()];
    for layer in layers {
        plans = plans
            .iter()
            .flat_map(|plan| layer.candidates.iter().map(|c| plan.iter().copied().chain([*c]).collect()))
            .collect();
    }
    plans.retain(|plan| ties.iter().all(|tie| tie.windows(2).all(|pair| plan[pair[0]].scheme == plan[pair[1]].scheme)));
    plans.iter().map(|plan| (plan.iter().map(|c| c.bytes).sum(), plan.iter().map(|c| c.loss).sum())).collect()
}

fn costs() -> impl Strategy<Value = Vec<Vec<(u64, u16)>>> {
    proptest::collection::vec(proptest::collection::vec((1u64..60, 0u16..200), SCHEMES.len()), 1..=6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_plan_is_better(costs in costs(), tied in any::<bool>(), bytes in 1u64..300, loss in -40i32..700) {
        let layers = layers(&costs);
        let ties = match layers.len() {
            3.. if tied => vec![vec![2, 0]],
            _ => vec![],
        };
        let plans = all_plans(&layers, &ties);
        let optimizer = PrecisionOptimizer::new(&layers, &ties).unwrap();
        let within = |found: &bitsmith::search::Allocation| {
            let chosen = || layers.iter().zip(&found.choice).map(|(layer, index)| layer.candidates[*index]);
            assert_eq!((chosen().map(|c| c.bytes).sum::<u64>(), chosen().map(|c| c.loss).sum::<f64>()), (found.bytes, found.loss));
            assert!(ties.iter().all(|tie| tie.windows(2).all(|p| chosen().nth(p[0]).unwrap().scheme == chosen().nth(p[1]).unwrap().scheme)));
            assert!(found.exact);
        };

        let best = plans.iter().filter(|plan| plan.0 <= bytes).map(|plan| plan.1).min_by(f64::total_cmp);
        match (optimizer.within_bytes(bytes), best) {
            (Ok(found), Some(best)) => {
                within(&found);
                prop_assert!(found.bytes <= bytes);
                prop_assert_eq!(found.loss, best);
            }
            (Err(error), None) => {
                let least = plans.iter().map(|plan| plan.0).min().unwrap();
                prop_assert!(error.to_string().ends_with(&format!("nearest possible is {least}")), "{}", error);
                prop_assert!(optimizer.within_bytes(least).is_ok());
            }
            (found, best) => panic!("{found:?} {best:?}"),
        }

        let loss = f64::from(loss) / 1024.0;
        let best = plans.iter().filter(|plan| plan.1 <= loss).map(|plan| plan.0).min();
        match (optimizer.within_loss(loss), best) {
            (Ok(found), Some(best)) => {
                within(&found);
                prop_assert!(found.loss <= loss);
                prop_assert_eq!(found.bytes, best);
            }
            (Err(error), None) => {
                let least = plans.iter().map(|plan| plan.1).min_by(f64::total_cmp).unwrap();
                prop_assert!(error.to_string().ends_with(&format!("nearest possible is {least}")), "{}", error);
                prop_assert!(optimizer.within_loss(least).is_ok());
            }
            (found, best) => panic!("{found:?} {best:?}"),
        }
    }
}

/// Layers as a model has them: of a few shapes, each with a sensitivity of its own.
fn model(layers: usize, seed: u32) -> Vec<LayerCandidates> {
    let ladder = MixedPrecisionConfig::builder().bits_ladder("8,4,3,2,ternary").build().unwrap().ladder().unwrap();
    let mut random = Random::new(seed);
    let shapes = [(4096, 4096), (1024, 4096), (11008, 4096), (4096, 11008)];
    let layer = |index: usize| {
        let (rows, cols) = shapes[index % shapes.len()];
        let sensitivity = (f64::from(random.uniform()) * 6.0).exp() * 1e-4;
        let candidate = |scheme: Scheme, noise: f64| {
            let step =
                2f64.powi(-2 * i32::from(scheme.bits().get())) * if scheme.bits().is_ternary() { 1.4 } else { 1.0 };
            let group = scheme.bytes(1, cols) as f64 / cols as f64;
            Candidate { scheme, bytes: scheme.bytes(rows, cols), loss: sensitivity * step * (1.0 + noise) / group }
        };
        let candidates =
            ladder.for_columns(cols).map(|scheme| candidate(scheme, f64::from(random.uniform()))).collect();
        LayerCandidates { path: format!("layers.{index}"), candidates }
    };
    (0..layers).map(layer).collect()
}

#[test]
fn hundreds_of_layers_are_proven() {
    for seed in 0..4 {
        let layers = model(300, seed);
        let ties: Vec<Vec<usize>> =
            (0..100).map(|block| vec![3 * block, 3 * block + 1]).filter(|t| t[0] % 4 == 0).collect();
        for ties in [&[][..], &ties] {
            let optimizer = PrecisionOptimizer::new(&layers, ties).unwrap();
            let (few, many) = (optimizer.fewest_bytes(), optimizer.least_loss());
            for share in [0.1, 0.37, 0.8] {
                let bytes = few.bytes + ((many.bytes - few.bytes) as f64 * share) as u64;
                let found = optimizer.within_bytes(bytes).unwrap();
                assert!(found.exact && found.bytes <= bytes && found.loss < few.loss, "seed {seed}, {share}");
                // What these bytes give back: no more bytes for no more loss.
                let back = optimizer.within_loss(found.loss).unwrap();
                assert!(back.bytes <= found.bytes && back.loss <= found.loss, "seed {seed}, {share}");
                assert!(back.exact);
            }
        }
    }
}

#[test]
fn what_cannot_be_allocated_is_named() {
    let mut layers = layers(&[vec![(5, 9), (3, 20)], vec![(5, 9), (3, 20)], vec![(9, 9)]]);
    let refused = |layers: &[LayerCandidates], ties: &[Vec<usize>], words: &[&str]| {
        let error = PrecisionOptimizer::new(layers, ties).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(&layers, &[vec![0, 1], vec![1, 2]], &["layers.1", "twice"]);
    refused(&layers, &[vec![0, 7]], &["no layer 7"]);
    layers[0].candidates[0].loss = f64::NAN;
    layers[2].candidates[0].loss = f64::NEG_INFINITY;
    refused(&layers, &[], &["layers.2"]);
    let optimizer = PrecisionOptimizer::new(&layers[..2], &[]).unwrap();
    assert_eq!(optimizer.least_loss().choice, [1, 0], "what is no number is not taken");
    layers[1].candidates.truncate(1);
    refused(&layers[..2], &[vec![0, 1]], &["layers.0, layers.1", "no scheme"]);
}
