//! GPTQ and the search for scales on whole models, and the statistics that they go by.

use std::path::{Path, PathBuf};

use bitsmith::calib::{CalibrationDataset, GramMatrix, SecondMoments};
use bitsmith::model::{Observer, StreamedModel};
use bitsmith::op::Activations;
use bitsmith::progress::Silent;
use bitsmith::quant::{
    BlockQuantizer, BlockRun, Gptq, GptqConfig, LayerJob, QuantizedBlock, Quantizer, Rtn, RtnConfig, Skip, Way,
    linear_layers,
};
use bitsmith::scheme::Plan;
use bitsmith::{Device, Error, Random, Recorder, Scheme};

/// f32 sums over 300 tokens in another order, relative.
const SUMS: f64 = 1e-5;

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn plan(folder: &Path, scheme: Scheme) -> Plan {
    let checkpoint = bitsmith::io::Checkpoint::open(folder).expect("the model is there");
    let value = bitsmith::io::read_config(folder).expect("it has a config");
    let layers = linear_layers(&checkpoint, &value, &mut Skip::new(&[]).expect("no pattern"));
    layers.iter().filter(|l| !l.kept).map(|l| (l.path.as_str(), scheme)).collect()
}

fn blocks<Q: Quantizer + BlockQuantizer>(folder: &Path, quantizer: &Q) -> Result<Vec<QuantizedBlock>, Error> {
    let model = StreamedModel::open(folder, &Device::cpu())?;
    let vocabulary = u32::try_from(model.config().vocab_size).expect("a small one");
    let mut random = Random::new(1);
    let ids: Vec<Vec<u32>> = (0..8).map(|_| (0..12).map(|_| random.below(vocabulary)).collect()).collect();
    let data = CalibrationDataset::from_sequences(ids)?;
    let plan = plan(folder, quantizer.scheme());
    let mut run = BlockRun::new(quantizer, model, &data, &plan)?;
    let mut found = Vec::new();
    while let Some(block) = pollster::block_on(run.next_block(&mut Silent))? {
        found.push(block);
    }
    let layers = found.iter().flat_map(|block| &block.layers);
    assert_eq!(layers.filter(|layer| plan.get(&layer.path).is_some()).count(), plan.len());
    Ok(found)
}

fn gptq(change: fn(&mut GptqConfig)) -> Gptq {
    let mut config = GptqConfig { bits: 2, group_size: "16".parse().expect("a size"), ..GptqConfig::default() };
    change(&mut config);
    Gptq::new(config).expect("the settings fit")
}

fn rtn(change: fn(&mut RtnConfig)) -> Rtn {
    let group_size = "16".parse().expect("a size");
    let mut config = RtnConfig { bits: 2, group_size, search: true, ..RtnConfig::default() };
    change(&mut config);
    Rtn::new(config).expect("the settings fit")
}

fn last_loss(blocks: &[QuantizedBlock]) -> f64 {
    blocks.last().expect("there are blocks").loss_after
}

/// Three layers in one tensor, biases, learned positions, norms within attention.
#[test]
fn every_family_is_quantized() {
    for (name, layers) in [("gpt2-tied", 4), ("opt-350m-like", 6), ("qwen3-norms", 7), ("mistral-window", 7)] {
        let folder = folder("tests/golden/families").join(name);
        let searched = blocks(&folder, &rtn(|_| {})).expect("it is quantized");
        for config in [gptq(|_| {}), gptq(|c| c.act_order = true), gptq(|c| (c.asymmetric, c.bits) = (true, 3))] {
            let found = blocks(&folder, &config).expect("it is quantized");
            assert!(found.iter().all(|block| block.layers.len() == layers), "{name}");
            assert!(last_loss(&found) < last_loss(&searched), "{name}: {} {}", last_loss(&found), last_loss(&searched));
        }
    }
}

#[test]
fn runs_repeat() {
    let folder = folder("tests/golden/families/qwen3-norms");
    let of = |blocks: Vec<QuantizedBlock>| -> Vec<_> {
        blocks.into_iter().flat_map(|block| block.layers).map(|layer| (layer.path, layer.layer.weight)).collect()
    };
    let run = || of(blocks(&folder, &gptq(|_| {})).expect("it is quantized"));
    let first = run();
    assert_eq!(first, run());
    assert_ne!(first, of(blocks(&folder, &gptq(|c| c.act_order = true)).expect("it is quantized")));
    assert_ne!(first, of(blocks(&folder, &gptq(|c| c.search = false)).expect("it is quantized")));
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let (from, to) = (folder("tests/golden/families/qwen3-norms"), tempfile::tempdir().expect("a folder"));
    for entry in std::fs::read_dir(&from).expect("the family is there") {
        let path = entry.expect("a file").path();
        std::fs::copy(&path, to.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    let checkpoint = bitsmith::io::Checkpoint::open(to.path()).expect("a checkpoint");
    let name = "model.layers.0.mlp.down_proj.weight";
    let (info, file) = (checkpoint.info(name).expect("a layer"), checkpoint.path_of(name).expect("a file"));
    let mut bytes = std::fs::read(file).expect("weights");
    // All bits set is a NaN in every type.
    bytes[info.range.start + 8..][..8].fill(0xff);
    let file = file.to_path_buf();
    drop(checkpoint);
    std::fs::write(file, bytes).expect("written");
    for error in
        [blocks(to.path(), &gptq(|_| {})).expect_err("a NaN"), blocks(to.path(), &rtn(|_| {})).expect_err("a NaN")]
    {
        assert!(error.to_string().contains("down_proj"), "{error}");
        assert!(matches!(error, Error::NotFinite { row: 0, .. }), "{error}");
    }
}

/// Whatever the scheme, a search finds what is at least as near as the rule, by far at few bits; and it never changes what
/// lies on the grid of a symmetric rule already.
#[test]
fn a_search_is_nearer_than_the_rule() {
    let mut values = Random::new(3).normals(8 * 200);
    values.iter_mut().step_by(37).for_each(|value| *value *= 4.0);
    let weight = bitsmith::Tensor::from_f32(vec![8, 200], &values).expect("as many values");
    let error = |rtn: &Rtn, weight: &bitsmith::Tensor<'_>| {
        let Way::Layers(layers) = rtn.way(false) else { panic!("no data") };
        let device = Device::cpu();
        let job = LayerJob { device: &device, path: "w", weight: weight.clone(), scheme: rtn.scheme() };
        pollster::block_on(layers.quantize(&job)).expect("all is finite")
    };
    for (bits, gain) in [(2, 0.9), (3, 0.95), (4, 0.98), (8, 1.0)] {
        for asymmetric in [false, true] {
            let size = |group: &str| group.parse().expect("a size");
            for group in ["16", "64", "channel"] {
                let config = RtnConfig { bits, asymmetric, group_size: size(group), ..RtnConfig::default() };
                let [plain, searched] = [false, true]
                    .map(|search| Rtn::new(RtnConfig { search, ..config.clone() }).expect("the settings fit"));
                let (rule, search) = (error(&plain, &weight), error(&searched, &weight));
                let (rule_mse, search_mse) = (rule.error.mse(), search.error.mse());
                assert!(search_mse < gain * rule_mse, "{bits} {asymmetric} {group}: {search_mse} {rule_mse}");
                if asymmetric {
                    continue;
                }
                let decoded = rule.weight.unpack().expect("it fits").dequantize();
                let decoded = bitsmith::Tensor::from_f32(vec![8, 200], &decoded).expect("as many values");
                assert_eq!(error(&searched, &decoded).error.mse(), 0.0, "{bits} {asymmetric} {group}");
            }
        }
    }
}

#[test]
fn settings_that_contradict_are_refused() {
    let refused = |change: fn(&mut RtnConfig)| {
        let mut config = RtnConfig { search: true, ..RtnConfig::default() };
        change(&mut config);
        Rtn::new(config).expect_err("it does not fit").to_string()
    };
    assert!(refused(|c| c.group_size = "tensor".parse().expect("a size")).contains("group_size"));
    assert!(refused(|c| c.range = "2n-1".parse().expect("a rule")).contains("range"));
}

/// Batch by batch what one pass gives, and what f64 gives.
#[test]
fn statistics_stream() {
    let device = Device::cpu();
    let (rows, cols) = (300, 37);
    let x = Random::new(9).normals(rows * cols);
    let observed = |batches: &[usize]| {
        let (gram, moments) = (GramMatrix::new(&device, cols).unwrap(), SecondMoments::new(&device, cols).unwrap());
        let mut from = 0;
        for batch in batches {
            let part = Activations::upload(&device, *batch, cols, &x[from * cols..][..batch * cols]).unwrap();
            let mut rec = Recorder::new(&device);
            gram.observe(&mut rec, &part).unwrap();
            moments.observe(&mut rec, &part).unwrap();
            rec.submit().unwrap();
            from += batch;
        }
        pollster::block_on(async { (gram.read().await.unwrap(), moments.read().await.unwrap()) })
    };
    let product = |i: usize, j: usize| -> f64 { x.chunks_exact(cols).map(|x| f64::from(x[i]) * f64::from(x[j])).sum() };
    for batches in [&[300][..], &[1, 99, 200], &[100, 100, 100]] {
        let (gram, moments) = observed(batches);
        for i in 0..cols {
            assert!((f64::from(moments[i]) / product(i, i) - 1.0).abs() < SUMS);
            for j in 0..cols {
                let (found, expected) = (f64::from(gram[i * cols + j]), product(i, j));
                assert!((found - expected).abs() < SUMS * rows as f64, "{i} {j}: {found} {expected}");
            }
        }
    }
}
