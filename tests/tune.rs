//! Tuning of all blocks together.

use bitsmith::calib::CalibrationDataset;
use bitsmith::model::StreamedModel;
use bitsmith::op::{self, DenseWeight, TrainedWeight};
use bitsmith::progress::Silent;
use bitsmith::quant::{BlockRun, Learned, LearnedConfig, NamedLayer, Skip, TuneConfig, Tuned, linear_layers, tune};
use bitsmith::scheme::{Plan, Scheme};
use bitsmith::{Device, Random, Tensor};

use std::path::{Path, PathBuf};

fn family(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families").join(name)
}

fn sequences(model: &StreamedModel) -> CalibrationDataset {
    let vocabulary = u32::try_from(model.config().vocab_size).expect("a small one");
    let mut random = Random::new(1);
    let ids = (0..32).map(|_| (0..12).map(|_| random.below(vocabulary)).collect()).collect();
    CalibrationDataset::from_sequences(ids).expect("they are of one length")
}

/// Every layer rounded to the nearest code.
fn nearest(folder: &Path, scheme: &str) -> (StreamedModel, CalibrationDataset, Vec<NamedLayer>) {
    let scheme: Scheme = scheme.parse().expect("a scheme");
    let checkpoint = bitsmith::io::Checkpoint::open(folder).expect("the model is there");
    let value = bitsmith::io::read_config(folder).expect("it has a config");
    let layers = linear_layers(&checkpoint, &value, &mut Skip::new(&[]).expect("no pattern"));
    let plan: Plan = layers.iter().filter(|l| !l.kept).map(|l| (l.path.as_str(), scheme)).collect();
    let open = || StreamedModel::open(folder, &Device::cpu()).expect("the model is there");
    let (model, data) = (open(), sequences(&open()));
    let learned = Learned::new(LearnedConfig { iters: 0, ..LearnedConfig::default() }).expect("the settings fit");
    let mut run = BlockRun::new(&learned, open(), &data, &plan).expect("the data fits");
    let mut found = Vec::new();
    while let Some(block) = pollster::block_on(run.next_block(&mut Silent)).expect("it rounds") {
        found.extend(block.layers);
    }
    (model, data, found)
}

fn tuned(name: &str, scheme: &str, config: TuneConfig) -> (Vec<NamedLayer>, Tuned) {
    let (model, data, layers) = nearest(&family(name), scheme);
    let tuned = pollster::block_on(tune(&model, layers.clone(), &data, &config, 1, &mut Silent)).expect("it tunes");
    (layers, tuned)
}

const SHORT: TuneConfig = TuneConfig { tune_iters: 40, tune_lr: Some(1e-2), tune_batch_size: Some(6) };

#[test]
fn predictions_come_nearer_and_runs_repeat() {
    for (name, scheme) in [("gpt2-tied", "w2g16a"), ("opt-350m-like", "w3g32s"), ("qwen3-norms", "w2g16a")] {
        let (before, first) = tuned(name, scheme, SHORT);
        let (a, b) = (first.divergence_before, first.divergence_after);
        assert!(b < 0.95 * a, "{name}: {a} -> {b}");
        assert_eq!(first.layers.len(), before.len(), "{name}");
        for (a, b) in before.iter().zip(&first.layers) {
            assert_eq!(a.path, b.path, "{name}");
            assert_ne!(a.layer.weight, b.layer.weight, "{name}: {}", a.path);
        }
        let (_, again) = tuned(name, scheme, SHORT);
        for (a, b) in first.layers.iter().zip(&again.layers) {
            assert_eq!(a.layer.weight, b.layer.weight, "{name}: {}", a.path);
        }
    }
}

/// Steps so long that they only do harm.
#[test]
fn what_does_not_help_is_dropped() {
    let (before, tuned) = tuned("qwen3-norms", "w8g16a", TuneConfig { tune_iters: 10, tune_lr: Some(50.0), ..SHORT });
    assert!(tuned.divergence_after > tuned.divergence_before);
    for (a, b) in before.iter().zip(&tuned.layers) {
        assert_eq!(a.layer.weight, b.layer.weight);
    }
}

#[test]
fn training_starts_from_the_codes_it_is_given() {
    let device = Device::cpu();
    let mut random = Random::new(3);
    for scheme in ["w2g16a", "w2g32s", "w3cs-f32", "w4g16a-bf16", "w8g16a"] {
        let Ok(scheme) = scheme.parse::<Scheme>() else { panic!("{scheme} is a scheme") };
        let values: Vec<f32> = (0..7 * 50).map(|_| random.normal() + 0.3).collect();
        let other: Vec<f32> = values.iter().map(|v| v + 0.2 * random.normal()).collect();
        let [tensor, other] = [values, other].map(|v| Tensor::from_f32(vec![7, 50], &v).expect("they fit"));
        // Codes of somewhat different values: not the nearest ones.
        let (packed, _) = pollster::block_on(op::quantize(&device, &other, &scheme.into(), "w")).expect("it rounds");
        let dense = DenseWeight::upload(&device, &tensor).expect("it fits");
        let weight = pollster::block_on(TrainedWeight::from_codes(&device, &dense, &packed)).expect("it starts");
        let (back, _) = pollster::block_on(op::quantize_trained(&device, &weight, "w")).expect("it rounds");
        assert_eq!(back, packed, "{scheme}");
    }
}

#[test]
fn unusable_settings_are_refused() {
    let (model, data, layers) = nearest(&family("qwen3-norms"), "w2g16a");
    for (config, name) in [
        (TuneConfig { tune_batch_size: Some(0), ..SHORT }, "tune_batch_size"),
        (TuneConfig { tune_lr: Some(f32::NAN), ..SHORT }, "tune_lr"),
    ] {
        let refused = pollster::block_on(tune(&model, layers.clone(), &data, &config, 1, &mut Silent));
        assert!(refused.expect_err("it does not fit").to_string().contains(name));
    }
}
