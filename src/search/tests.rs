//! The search on a small model: against all plans, after a kill, and where nothing can be found.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use super::course::{Held, Limit, Search, used};
use super::facts::{Facts, State};
use super::history::History;
use super::parts::{Counts, Parts};
use super::sensitivity::sensitivity;
use super::stage::Stage;
use super::trials::{On, Trials};
use super::walk::{Rules, walk};
use super::{AcceptedStore, Budgets, GradualQuantizer, LayerCandidates, MixedPrecisionConfig};
use crate::calib::CalibrationDataset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::export::{CodesFrom, Method, SearchPhase, SearchRecord, exporter};
use crate::io::{Checkpoint, Checksum, TextSource, Tokenizer};
use crate::model::StreamedModel;
use crate::progress::{Progress, Silent};
use crate::quant::{Fingerprint, Footprint, ObserveJob, ObservingQuantizer, Quantizer, Skip, linear_layers, may_pass};
use crate::scheme::Plan;

/// By how much the bytes of the search may be above those of the best of all plans.
const NEAR: f64 = 1.02;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny-llama")
}

fn model() -> StreamedModel {
    StreamedModel::open(&folder(), &Device::cpu()).expect("it is there")
}

/// Sequences of a text that the model knows.
fn data(sequences: usize) -> CalibrationDataset {
    let source = TextSource::from(folder().join("calibration.txt"));
    let documents = source.documents(Some("<|endoftext|>"), None).expect("it is there");
    let tokenizer = Tokenizer::read(&folder(), 512).expect("it is there");
    CalibrationDataset::from_text(documents, &tokenizer, sequences, 32).expect("it is long enough")
}

fn config() -> MixedPrecisionConfig {
    MixedPrecisionConfig { learned_iters: 0, tune_iters: 0, min_group_size: 128, ..MixedPrecisionConfig::default() }
}

/// Lets `then` see the layers whose paths end so.
fn with_footprint<T>(ends: &[&str], then: impl FnOnce(&Footprint<'_>) -> T) -> T {
    let checkpoint = Checkpoint::open(&folder()).expect("it is there");
    let mut skip = Skip::new(&[]).expect("no pattern");
    let layers = linear_layers(&checkpoint, &serde_json::json!({}), &mut skip);
    let exporter = exporter("compressed-tensors").expect("a format");
    let picked = |layer: &crate::quant::LinearLayer| ends.iter().any(|end| layer.path.ends_with(end));
    then(&Footprint::new(&checkpoint, &layers, &*exporter, picked).expect("known types"))
}

fn plan_of(footprint: &Footprint<'_>) -> Plan {
    let scheme = "w8g128s".parse().expect("a scheme");
    footprint.layers().iter().map(|layer| (layer.path.clone(), scheme)).collect()
}

fn fingerprint(gradual: &GradualQuantizer, footprint: &Footprint<'_>) -> Fingerprint {
    Fingerprint {
        bitsmith: "test".into(),
        method: Method { name: "gradual".into(), settings: gradual.settings() },
        plan: plan_of(footprint),
        format: "compressed-tensors".into(),
        shard_size: 1,
        device: "cpu".into(),
        config: Checksum::of(b"{}"),
        calibration: None,
        files: vec![],
    }
}

/// The whole method, up to where weights are written.
fn observed(
    config: MixedPrecisionConfig,
    ends: &[&str],
    state: &Path,
    resume: bool,
    progress: &mut dyn Progress,
) -> Result<SearchRecord> {
    with_footprint(ends, |footprint| {
        let gradual = GradualQuantizer::new(config)?;
        let fingerprint = &fingerprint(&gradual, footprint);
        let (model, data, plan) = (model(), &data(60), None);
        let job = ObserveJob { model, data, footprint, plan, state, resume, fingerprint, progress };
        let found = pollster::block_on(gradual.observe(job))?;
        Ok(found.search.expect("it searched"))
    })
}

fn trials(footprint: &Footprint<'_>, folder: &Path, config: &MixedPrecisionConfig) -> Trials {
    let parts = Parts::of(&data(60), Counts { calibration: 2, evaluation: 1, further: 0 }).expect("enough");
    let facts = Facts::open(folder, false).expect("a place");
    pollster::block_on(Trials::new(Rc::new(model()), parts, config, &plan_of(footprint), facts)).expect("it reads")
}

/// Every plan of these layers.
fn all_plans(layers: &[LayerCandidates]) -> Vec<Plan> {
    layers.iter().fold(vec![Plan::default()], |plans, layer| {
        let with = |plan: &Plan| {
            let plan = plan.clone();
            layer.candidates.iter().map(move |candidate| {
                let mut plan = plan.clone();
                plan.insert(layer.path.clone(), candidate.scheme);
                plan
            })
        };
        plans.iter().flat_map(with).collect()
    })
}

const FEW: [&str; 5] =
    ["0.self_attn.q_proj", "0.self_attn.v_proj", "0.mlp.up_proj", "3.self_attn.o_proj", "3.mlp.gate_proj"];

#[test]
fn the_search_comes_near_the_best_of_all_plans() {
    let place = tempfile::tempdir().expect("a folder");
    let config = MixedPrecisionConfig { bits_ladder: "8,4,2".parse().expect("rungs"), ..config() };
    with_footprint(&FEW[1..], |footprint| {
        let mut trials = trials(footprint, &place.path().join("facts"), &config);
        let layers = pollster::block_on(sensitivity(&mut trials, &config, footprint, &mut Silent)).expect("measured");
        let original: BTreeMap<String, u64> = layers.iter().map(|layer| (layer.path.clone(), 0)).collect();
        let phase = SearchPhase::Walk;
        let rules = Rules {
            layers: &layers,
            tied: false,
            multiplier: f64::INFINITY,
            iters: 0,
            learned_only: false,
            phase,
            original: &original,
        };
        let mut all = Vec::new();
        for plan in all_plans(&layers) {
            let mut silent = Silent;
            let mut stage = Stage::begin(&mut silent, "", 1);
            let walked = pollster::block_on(walk(&mut trials, &rules, &plan, &State::new(), 0, &mut stage));
            let state = walked.expect("it is put in place").state;
            let measured = pollster::block_on(trials.measure(On::HeldOut, &state, 0, &Silent)).expect("measured");
            all.push((rules.bytes(&state), measured));
        }
        assert_eq!(all.len(), 81);
        let least = |budgets: &Budgets| {
            let within = all.iter().filter(|(_, measured)| used(budgets, measured) <= 1.0);
            within.map(|(bytes, _)| *bytes).min().expect("some plan")
        };
        for kl in [0.003, 0.01, 0.05, 0.2] {
            let budgets = Budgets { perplexity: None, kl: Some(kl) };
            let state = place.path().join(format!("state {kl}"));
            let gradual = GradualQuantizer::new(config.clone()).expect("settings");
            let store = AcceptedStore::open(&state, &fingerprint(&gradual, footprint), false).expect("a place");
            let mut history = History::new(store);
            let mut search = Search {
                trials: &mut trials,
                config: &config,
                limit: Limit::Quality(budgets),
                layers: layers.clone(),
                original: original.clone(),
                history: &mut history,
                progress: &mut Silent,
            };
            let held = pollster::block_on(search.run(None)).expect("a plan");
            let best = least(&budgets);
            // What the store hands out is what was measured.
            drop(history);
            let gradual = GradualQuantizer::new(config.clone()).expect("settings");
            let store = AcceptedStore::open(&state, &fingerprint(&gradual, footprint), true).expect("it is whole");
            for (path, made) in &held.state {
                let stored = store.layer(path).expect("it is whole").expect("it was accepted");
                assert_eq!(stored.weight, trials.facts.read(made).expect("it is whole").weight, "{path}");
            }
            let Held { bytes, measured, .. } = held;
            assert!(used(&budgets, &measured) <= 1.0);
            assert!(bytes as f64 <= NEAR * best as f64, "{kl}: {bytes} bytes, the best plan {best}");
        }
    });
}

#[test]
fn what_is_rolled_back_leaves_the_same_bytes() {
    let place = tempfile::tempdir().expect("a folder");
    with_footprint(&FEW, |footprint| {
        let config = MixedPrecisionConfig { bits_ladder: "8,2".parse().expect("rungs"), ..config() };
        let mut trials = trials(footprint, place.path(), &config);
        let layers = pollster::block_on(sensitivity(&mut trials, &config, footprint, &mut Silent)).expect("measured");
        let original: BTreeMap<String, u64> = layers.iter().map(|layer| (layer.path.clone(), 0)).collect();
        // What a block may cost is next to nothing, so that each is mended.
        let rules = Rules {
            layers: &layers,
            tied: false,
            multiplier: 1e-9,
            iters: 0,
            learned_only: false,
            phase: SearchPhase::Walk,
            original: &original,
        };
        let mut go = |plan: &Plan, state: &State| {
            let mut silent = Silent;
            let mut stage = Stage::begin(&mut silent, "", 1);
            let walked = pollster::block_on(walk(&mut trials, &rules, plan, state, 0, &mut stage)).expect("in place");
            let codes: Vec<_> =
                trials.layers(walked.state.iter()).map(|layer| layer.expect("it is whole").layer.weight).collect();
            (walked, codes)
        };
        let fine = plan_of(footprint);
        let (first, codes) = go(&fine, &State::new());
        let coarse: Plan = fine.iter().map(|(path, _)| (path, "w2g128s".parse().expect("a scheme"))).collect();
        let (second, other) = go(&coarse, &State::new());
        assert_ne!(codes, other);
        let tried = second.steps.iter().filter(|step| step.rolled_back.is_some()).count();
        assert!(tried > 0 && second.plan != coarse, "{tried}");
        // The state that was kept still gives the codes that it gave, and what is put in place again is the same.
        let again: Vec<_> =
            trials.layers(first.state.iter()).map(|layer| layer.expect("it is whole").layer.weight).collect();
        assert_eq!(again, codes);
    });
}

/// Asks to stop after so many questions.
struct Stopping(Cell<usize>);

impl Progress for Stopping {
    fn begin(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self) {}

    fn cancelled(&self) -> bool {
        self.0.set(self.0.get().saturating_sub(1));
        self.0.get() == 0
    }
}

#[test]
fn a_search_that_was_stopped_ends_with_the_same_result() {
    let place = tempfile::tempdir().expect("a folder");
    let config =
        MixedPrecisionConfig { max_kl: Some(0.02), learned_iters: 4, tune_iters: 2, batch_size: 2, ..config() };
    let ends = &FEW[2..4];
    let whole = place.path().join("whole");
    let expected = observed(config.clone(), ends, &whole, false, &mut Silent).expect("found");
    assert!(expected.steps.iter().any(|step| step.rolled_back.is_none()));
    let stopped = place.path().join("stopped");
    let (mut stops, mut after) = (0, 3);
    let found = loop {
        match observed(config.clone(), ends, &stopped, stops > 0, &mut Stopping(Cell::new(after))) {
            Ok(found) => break found,
            Err(Error::Unfinished { cause, .. }) => assert!(matches!(*cause, Error::Cancelled), "{cause}"),
            Err(error) => panic!("{error}"),
        }
        (stops, after) = (stops + 1, after * 2);
    };
    assert!(stops > 1, "{stops}");
    let same = |record: &SearchRecord| SearchRecord { seconds: 0.0, memory: Default::default(), ..record.clone() };
    assert_eq!(same(&found), same(&expected));
    with_footprint(ends, |footprint| {
        let gradual = GradualQuantizer::new(config).expect("settings");
        let [a, b] = [&whole, &stopped].map(|state| {
            let store = AcceptedStore::open(state, &fingerprint(&gradual, footprint), true).expect("it is whole");
            let layers = footprint.layers().iter().map(|layer| store.layer(&layer.path).expect("it is whole"));
            layers.map(|layer| layer.map(|layer| layer.weight)).collect::<Vec<_>>()
        });
        assert!(a.iter().all(Option::is_some) && a == b);
    });
}

#[test]
fn tuning_costs_neither_bytes_nor_quality() {
    let place = tempfile::tempdir().expect("a folder");
    let config = MixedPrecisionConfig { max_kl: Some(0.01), learned_iters: 4, batch_size: 2, ..config() };
    let tuned = MixedPrecisionConfig { tune_iters: 30, ..config.clone() };
    let [without, with] = [("without", config), ("with", tuned)].map(|(name, config)| {
        let found = observed(config, &FEW, &place.path().join(name), false, &mut Silent).expect("found");
        assert_eq!(found.held_out.expect("it was checked").within_budget, Some(true), "{name}");
        found
    });
    let bytes = |record: &SearchRecord| record.layers.iter().map(|layer| layer.bytes).sum::<u64>();
    assert!(with.layers.iter().all(|layer| layer.codes == CodesFrom::Tuned));
    assert!(without.layers.iter().all(|layer| layer.codes != CodesFrom::Tuned));
    let kl = |record: &SearchRecord| record.held_out.and_then(|held| held.quality.kl).expect("a number");
    let no_worse = bytes(&with) < bytes(&without) || bytes(&with) == bytes(&without) && kl(&with) <= kl(&without);
    assert!(no_worse, "{} and {} bytes, {} and {}", bytes(&with), bytes(&without), kl(&with), kl(&without));
}

#[test]
fn memory_that_is_short_costs_no_saved_work() {
    let place = tempfile::tempdir().expect("a folder");
    with_footprint(&FEW[..1], |footprint| {
        let mut trials = trials(footprint, place.path(), &config());
        let device = trials.model().device().clone();
        let refused = |trials: &Trials| {
            device.set_memory_cap(0);
            assert!(device.reserve(0).is_err(), "what nobody uses is given back");
            // Room for a block, but not for the moments of all.
            device.set_memory_cap(device.memory().allocated + (4 << 20));
            let error = trials.reserve_for_tuning().expect_err("there is no room");
            device.set_memory_cap(u64::MAX);
            error
        };
        let error = refused(&trials);
        assert!(!may_pass(&error) && error.to_string().contains("--tune-iters 0"), "{error}");
        trials.reserve_for_tuning().expect("there is room");
        pollster::block_on(trials.measure(On::Decide, &State::new(), 0, &Silent)).expect("measured");
        let error = refused(&trials);
        assert!(may_pass(&error) && error.to_string().contains("--tune-iters 0"), "{error}");
    });
}

#[test]
fn numbers_of_sequences_may_be_as_large_as_they_get() {
    let config = MixedPrecisionConfig { calib_samples: usize::MAX, evaluation_samples: usize::MAX, ..config() };
    let gradual = GradualQuantizer::new(config).expect("settings");
    for seq_len in [1, 256, 2048] {
        assert_eq!(gradual.samples(seq_len), usize::MAX, "{seq_len}");
    }
}

#[test]
fn a_budget_that_cannot_be_met_names_the_nearest() {
    let place = tempfile::tempdir().expect("a folder");
    let config = MixedPrecisionConfig { max_kl: Some(1e-9), ..config() };
    let state = place.path().join("state");
    let error = observed(config, &FEW[..2], &state, false, &mut Silent).expect_err("nothing is that good").to_string();
    assert!(
        error.starts_with("max_kl: 0.000000001 cannot be reached") && error.contains("nearest possible"),
        "{error}"
    );
    assert!(!state.exists(), "nothing is left behind");
    let config = MixedPrecisionConfig { target_bits: Some(1.0), ..self::config() };
    let error = observed(config, &FEW[..2], &state, false, &mut Silent).expect_err("too small").to_string();
    assert!(error.starts_with("target_bits: 1 cannot be reached") && error.contains("nearest possible"), "{error}");
}

#[test]
fn a_target_of_bits_is_never_exceeded() {
    let place = tempfile::tempdir().expect("a folder");
    let config = MixedPrecisionConfig { target_bits: Some(3.5), ..config() };
    let found = observed(config, &FEW, &place.path().join("state"), false, &mut Silent).expect("found");
    let weights = with_footprint(&FEW, |footprint| footprint.size().weights);
    let bytes: u64 = found.layers.iter().map(|layer| layer.bytes).sum();
    assert!(bytes as f64 * 8.0 <= 3.5 * weights as f64 && bytes as f64 * 8.0 > 3.0 * weights as f64, "{bytes}");
    assert_eq!(found.layers.len(), FEW.len());
}
