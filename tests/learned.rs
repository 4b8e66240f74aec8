//! Learned rounding of whole models.

use bitsmith::calib::{CalibrationDataset, Inputs};
use bitsmith::io::{Text, TokenStream, Tokenizer};
use bitsmith::model::StreamedModel;
use bitsmith::progress::Silent;
use bitsmith::quant::{BlockRun, Learned, LearnedConfig, QuantizedBlock, Ranges, Skip, linear_layers};
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
        ..LearnedConfig::default()
    }
}

fn run(device: &Device, config: LearnedConfig, blocks: usize) -> Vec<QuantizedBlock> {
    let folder = folder("examples/tiny-llama");
    let model = StreamedModel::open(&folder, device).expect("the model is there");
    let tokenizer = Tokenizer::read(&folder, model.config().vocab_size).expect("it has a tokenizer");
    let text = Text::read(&folder.join("calibration.txt")).expect("it has a text");
    let stream = TokenStream::encode(&[text.content()], &tokenizer).expect("it encodes");
    let data = CalibrationDataset::from_stream(&stream, 8, 32).expect("it is long enough");
    let plan = plan(&folder, &config);
    let learned = Learned::new(config).expect("the settings fit");
    let mut run = BlockRun::new(&learned, model, &data, &plan).expect("the data fits");
    (0..blocks).map(|_| pollster::block_on(run.next_block(&mut Silent)).expect("it trains").expect("a block")).collect()
}

#[test]
fn every_block_gets_better_and_runs_repeat() {
    let device = Device::cpu();
    let learned = run(&device, tiny(25), 4);
    for block in &learned {
        assert_eq!(block.layers.len(), 7);
        assert!(block.loss_after < 0.9 * before(block), "{} -> {}", before(block), block.loss_after);
        assert!(block.best_iteration > Some(0));
    }
    let again = run(&device, tiny(25), 4);
    for (a, b) in learned.iter().zip(&again) {
        for (a, b) in a.layers.iter().zip(&b.layers) {
            assert_eq!((&a.path, &a.layer.weight), (&b.path, &b.layer.weight));
        }
    }
    let other = run(&device, LearnedConfig { seed: 7, ..tiny(25) }, 1);
    assert_ne!(other[0].layers[0].layer.weight, learned[0].layers[0].layer.weight);
}

/// The loss before is that of decoded weights, the one after of packed codes: their sums round differently.
const PACKED: f64 = 1.0 + 1e-6;

#[test]
fn few_long_steps_lead_no_block_astray() {
    let learned = run(&Device::cpu(), tiny(1), 2);
    for block in &learned {
        assert!(block.loss_after <= PACKED * before(block), "{} from {}", block.loss_after, before(block));
    }
}

#[test]
fn no_iterations_are_round_to_nearest() {
    let device = Device::cpu();
    let block = run(&device, tiny(0), 1).remove(0);
    // The same weights, decoded in advance and on the fly: sums in another order.
    assert!((block.loss_after - before(&block)).abs() < 1e-4 * before(&block));
    let checkpoint = bitsmith::io::Checkpoint::open(&folder("examples/tiny-llama")).unwrap();
    for layer in &block.layers {
        let tensor = checkpoint.tensor(&format!("{}.weight", layer.path)).unwrap();
        let scheme = tiny(0).scheme().unwrap();
        let nearest = pollster::block_on(bitsmith::op::quantize(&device, &tensor, &scheme.into(), "w")).unwrap();
        assert_eq!((&layer.layer.weight, &layer.layer.error), (&nearest.0, &nearest.1), "{}", layer.path);
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
    let changes: [fn(&mut LearnedConfig); 7] = [
        |c| c.inputs = Inputs::Original,
        |c| c.enable_minmax_tuning = false,
        |c| c.momentum = 0.9,
        |c| c.lr = Some(0.01),
        |c| c.ranges = Ranges::Bounds,
        |c| c.keep_best = true,
        |c| (c.bits, c.asymmetric, c.group_size) = (4, false, "channel".parse().expect("a size")),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let learned = with(change);
        assert!(learned.iter().all(|block| block.loss_after < before(block)), "option {i}");
        assert_ne!(learned[1].layers[0].layer.weight, plain[1].layers[0].layer.weight, "option {i}");
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
        let data = CalibrationDataset::from_sequences(ids).expect("they are of one length");
        let learned = Learned::new(config).expect("the settings fit");
        let mut run = BlockRun::new(&learned, model, &data, &plan).expect("the data fits");
        let mut found = Vec::new();
        while let Some(block) = pollster::block_on(run.next_block(&mut Silent)).expect("it trains") {
            assert!(block.loss_after < before(&block), "{name}: {} {}", before(&block), block.loss_after);
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
    let refused = |change: fn(&mut LearnedConfig)| {
        let mut config = tiny(1);
        change(&mut config);
        Learned::new(config).expect_err("it does not fit").to_string()
    };
    assert!(refused(|c| c.bits = 5).contains("bits"));
    assert!(refused(|c| c.group_size = "tensor".parse().unwrap()).contains("group_size"));
    assert!(refused(|c| c.batch_size = 0).contains("batch_size"));
    assert!(refused(|c| c.lr = Some(-1.0)).contains("lr"));
    assert!(refused(|c| c.momentum = 1.0).contains("momentum"));
    assert!(refused(|c| c.tune.tune_batch_size = Some(0)).contains("tune_batch_size"));
}

#[test]
fn unusable_data_is_refused() {
    let refused = |ids: Vec<Vec<u32>>| {
        let learned = Learned::new(tiny(1)).expect("the settings fit");
        let folder = folder("examples/tiny-llama");
        let model = StreamedModel::open(&folder, &Device::cpu()).expect("the model is there");
        let data = CalibrationDataset::from_sequences(ids);
        let error = data.and_then(|data| BlockRun::new(&learned, model, &data, &Plan::default()).map(|_| ()));
        let error = error.expect_err("it does not fit");
        assert!(matches!(error, Error::Config { .. }), "{error}");
        error.to_string()
    };
    assert!(refused(vec![]).contains("calib"));
    assert!(refused(vec![vec![1, 2], vec![1]]).contains("one length"));
    assert!(refused(vec![vec![1; 100_000]]).contains("context"));
    let tokenizer = Tokenizer::read(&folder("examples/tiny-llama"), 1 << 20).expect("it has a tokenizer");
    let stream = TokenStream::encode(&["short"], &tokenizer).expect("it encodes");
    assert!(CalibrationDataset::from_stream(&stream, 100, 2).unwrap_err().to_string().contains("samples"));
}

fn before(block: &QuantizedBlock) -> f64 {
    block.loss_before.expect("it was measured")
}
