//! Learned rounding of whole models.

use bitsmith::calib::CalibrationDataset;
use bitsmith::io::{Text, TokenStream, Tokenizer};
use bitsmith::model::StreamedModel;
use bitsmith::progress::Silent;
use bitsmith::quant::learned::{Inputs, LearnedBlock, LearnedConfig, LearnedRun};
use bitsmith::quant::{Skip, linear_layers};
use bitsmith::scheme::Plan;
use bitsmith::{Device, Error};

use std::path::{Path, PathBuf};

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn plan(folder: &Path, config: &LearnedConfig) -> Plan {
    let checkpoint = bitsmith::io::Checkpoint::open(folder).expect("the model is there");
    let value = bitsmith::io::read_config(folder).expect("it has a config");
    let layers = linear_layers(&checkpoint, &value, &mut Skip::new(&[]).expect("no pattern"));
    let scheme = config.scheme().expect("a scheme");
    layers.iter().filter(|l| !l.kept).map(|l| (l.path.as_str(), scheme)).collect()
}

fn tiny(iters: u32) -> LearnedConfig {
    LearnedConfig {
        bits: 2,
        group_size: "32".parse().expect("a size"),
        asymmetric: true,
        iters,
        batch_size: 4,
        samples: 8,
        seq_len: 32,
        ..LearnedConfig::default()
    }
}

fn run(device: &Device, config: LearnedConfig, blocks: usize) -> Vec<LearnedBlock> {
    let folder = folder("examples/tiny-llama");
    let model = StreamedModel::open(&folder, device).expect("the model is there");
    let tokenizer = Tokenizer::read(&folder, model.config().vocab_size).expect("it has a tokenizer");
    let text = Text::read(&folder.join("calibration.txt")).expect("it has a text");
    let stream = TokenStream::encode(&[text.content()], &tokenizer).expect("it encodes");
    let chosen = CalibrationDataset::from_stream(&stream, config.samples, config.seq_len).expect("it is long enough");
    let plan = plan(&folder, &config);
    let mut run = LearnedRun::new(model, config, plan, chosen.sequences()).expect("the settings fit");
    (0..blocks).map(|_| pollster::block_on(run.next_block(&mut Silent)).expect("it trains").expect("a block")).collect()
}

#[test]
fn every_block_gets_better_and_runs_repeat() {
    let device = Device::cpu();
    let learned = run(&device, tiny(25), 4);
    for block in &learned {
        assert_eq!(block.layers.len(), 7);
        assert!(block.loss_after < 0.9 * block.loss_before, "{} -> {}", block.loss_before, block.loss_after);
        assert!(block.best_iteration > 0);
    }
    let again = run(&device, tiny(25), 4);
    for (a, b) in learned.iter().zip(&again) {
        for (a, b) in a.layers.iter().zip(&b.layers) {
            assert_eq!((&a.path, &a.weight), (&b.path, &b.weight));
        }
    }
    let other = run(&device, LearnedConfig { seed: 7, ..tiny(25) }, 1);
    assert_ne!(other[0].layers[0].weight, learned[0].layers[0].weight);
}

#[test]
fn no_iterations_are_round_to_nearest() {
    let device = Device::cpu();
    let block = run(&device, tiny(0), 1).remove(0);
    // The same weights, decoded in advance and on the fly: sums in another order.
    assert!((block.loss_after - block.loss_before).abs() < 1e-4 * block.loss_before);
    let checkpoint = bitsmith::io::Checkpoint::open(&folder("examples/tiny-llama")).unwrap();
    for layer in &block.layers {
        let tensor = checkpoint.tensor(&format!("{}.weight", layer.path)).unwrap();
        let scheme = tiny(0).scheme().unwrap();
        let nearest = pollster::block_on(bitsmith::op::quantize(&device, &tensor, &scheme.into(), "w")).unwrap();
        assert_eq!((&layer.weight, &layer.error), (&nearest.0, &nearest.1), "{}", layer.path);
    }
}

#[test]
fn each_option_trains() {
    let device = Device::cpu();
    let with = |change: fn(&mut LearnedConfig)| {
        let mut config = tiny(20);
        change(&mut config);
        run(&device, config, 2)
    };
    let plain = with(|_| {});
    let changes: [fn(&mut LearnedConfig); 5] = [
        |c| c.inputs = Inputs::Original,
        |c| c.enable_minmax_tuning = false,
        |c| c.momentum = 0.9,
        |c| c.lr = Some(0.01),
        |c| (c.bits, c.asymmetric, c.group_size) = (4, false, "channel".parse().expect("a size")),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let learned = with(change);
        assert!(learned.iter().all(|block| block.loss_after < block.loss_before), "option {i}");
        assert_ne!(learned[1].layers[0].weight, plain[1].layers[0].weight, "option {i}");
    }
}

/// Three layers in one tensor come out as one, and biases, norms and learned positions take part.
#[test]
fn every_family_trains() {
    for (name, layers) in [("gpt2-tied", 4), ("opt-350m-like", 6), ("qwen3-norms", 7), ("mistral-window", 7)] {
        let folder = folder("tests/golden/families").join(name);
        let model = StreamedModel::open(&folder, &Device::cpu()).expect("the family is there");
        let config = LearnedConfig { group_size: "16".parse().expect("a size"), ..tiny(30) };
        let vocabulary = u32::try_from(model.config().vocab_size).expect("a small one");
        let mut random = bitsmith::Random::new(1);
        let ids: Vec<Vec<u32>> = (0..6).map(|_| (0..12).map(|_| random.below(vocabulary)).collect()).collect();
        let plan = plan(&folder, &config);
        let mut run = LearnedRun::new(model, config, plan.clone(), &ids).expect("the settings fit");
        let mut found = Vec::new();
        while let Some(block) = pollster::block_on(run.next_block(&mut Silent)).expect("it trains") {
            assert!(block.loss_after < block.loss_before, "{name}: {} {}", block.loss_before, block.loss_after);
            assert_eq!(block.layers.len(), layers, "{name}");
            found.extend(block.layers);
        }
        for (path, _) in plan.iter() {
            assert!(found.iter().any(|layer| layer.path == path), "{name}: {path} is missing");
        }
        assert_eq!(found.len(), plan.len());
    }
}

#[test]
fn unusable_settings_are_refused() {
    let device = Device::cpu();
    let open = || StreamedModel::open(&folder("examples/tiny-llama"), &device).expect("the model is there");
    let refused = |config: LearnedConfig, ids: &[Vec<u32>]| {
        let error = LearnedRun::new(open(), config, Plan::default(), ids).expect_err("it does not fit");
        assert!(matches!(error, Error::Config { .. }), "{error}");
        error.to_string()
    };
    let ids = [vec![1, 2, 3]];
    let bad = |change: fn(&mut LearnedConfig)| {
        let mut config = tiny(1);
        change(&mut config);
        config
    };
    assert!(refused(bad(|c| c.bits = 5), &ids).contains("bits"));
    assert!(refused(bad(|c| c.group_size = "tensor".parse().unwrap()), &ids).contains("group_size"));
    assert!(refused(bad(|c| c.batch_size = 0), &ids).contains("batch_size"));
    assert!(refused(bad(|c| c.lr = Some(-1.0)), &ids).contains("lr"));
    assert!(refused(bad(|c| c.momentum = 1.0), &ids).contains("momentum"));
    assert!(refused(tiny(1), &[]).contains("samples"));
    assert!(refused(tiny(1), &[vec![1, 2], vec![1]]).contains("samples"));
    assert!(refused(tiny(1), &[vec![1; 100_000]]).contains("context"));
}
