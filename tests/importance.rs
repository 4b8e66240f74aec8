//! How important layers and blocks are: that each measure measures what it says, at the cost it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bitsmith::calib::CalibrationDataset;
use bitsmith::model::StreamedModel;
use bitsmith::op::DenseWeight;
use bitsmith::progress::{Progress, Silent};
use bitsmith::search::{GradualEvaluator, Importance, ImportanceAnalyzer, ImportanceConfig, Measure, UnitImportance};
use bitsmith::{Device, Error, PackedTensor, Random, Scheme, Tensor, quant};

/// Activations of one row order against another: sums in f32.
const SAME: f64 = 1e-6;

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn tiny() -> PathBuf {
    folder("examples/tiny-llama")
}

/// Sequences of the calibration text of the example.
fn text(samples: usize, seq_len: usize) -> CalibrationDataset {
    let tokenizer = bitsmith::io::Tokenizer::read(&tiny(), 512).expect("it has a tokenizer");
    let source = bitsmith::io::TextSource::from(tiny().join("calibration.txt"));
    let documents = source.documents(Some("<|endoftext|>"), None).expect("it is there");
    CalibrationDataset::from_text(documents, &tokenizer, samples, seq_len).expect("it is long enough")
}

fn drawn(vocabulary: u32, samples: usize, seq_len: usize) -> CalibrationDataset {
    let mut random = Random::new(5);
    let sequence = |_| (0..seq_len).map(|_| random.below(vocabulary)).collect();
    CalibrationDataset::from_sequences((0..samples).map(sequence).collect()).expect("one length")
}

async fn evaluator(folder: &Path, data: &CalibrationDataset) -> GradualEvaluator {
    let model = StreamedModel::open(folder, &Device::cpu()).expect("the model is there");
    GradualEvaluator::new(model, data).await.expect("the data fit")
}

fn config(rungs: &[&str]) -> ImportanceConfig {
    let rungs = rungs.iter().map(|rung| rung.parse().expect("a scheme")).collect();
    ImportanceConfig { rungs, ..ImportanceConfig::default() }
}

fn kl(units: &[UnitImportance], path: &str) -> f64 {
    units.iter().find(|unit| unit.path == path).expect("it is there").findings[0].kl
}

#[track_caller]
fn same(found: f64, expected: f64) {
    assert!((found - expected).abs() < SAME, "{found} {expected}");
}

/// Each measure against the same change made by hand, measured from the first block on.
#[test]
fn each_measure_is_what_it_says() {
    pollster::block_on(async {
        let data = text(2, 24);
        let evaluator = evaluator(&tiny(), &data).await;
        let analyzer = ImportanceAnalyzer::new(&evaluator, &data, config(&["w4g32s", "w2g32s"]));
        let (device, start) = (evaluator.device(), evaluator.start().expect("it starts"));
        let path = "model.layers.2.self_attn.v_proj";
        let codes = async |scheme: &str, only: Option<&str>| {
            let mut all = BTreeMap::new();
            for index in 0..evaluator.model().blocks() {
                let block = evaluator.model().block(index).expect("it is there");
                for linear in block.linears().into_iter().flatten().filter(|l| only.is_none_or(|o| o == l.path())) {
                    let weight = linear.original().expect("floats").read(device).await.expect("read");
                    let codes = quant::quantize(device, &weight, scheme.parse::<Scheme>().expect("a scheme")).await;
                    all.insert(linear.path().to_owned(), PackedTensor::pack(&codes.expect("finite")));
                }
            }
            all
        };

        let alone = evaluator.measure_layers(&start, &codes("w4g32s", Some(path)).await).await.expect("it is measured");
        let rtn = analyzer.layers(Measure::Rtn, &mut Silent).await.expect("it is measured");
        same(kl(&rtn, path), alone.kl);
        assert_eq!(
            rtn[0].findings.iter().map(|f| f.scheme.map(|s| s.bits().get())).collect::<Vec<_>>(),
            [Some(4), Some(2)]
        );

        let lowest = codes("w2g32s", None).await;
        let base = evaluator.measure_layers(&start, &lowest).await.expect("it is measured");
        let mut raised = lowest.clone();
        raised.extend(codes("w4g32s", Some(path)).await);
        let raised = evaluator.measure_layers(&start, &raised).await.expect("it is measured");
        let upgrade = analyzer.layers(Measure::Upgrade, &mut Silent).await.expect("it is measured");
        same(kl(&upgrade, path), base.kl - raised.kl);

        let zero = evaluator.measure(&start, |_, block| {
            for linear in block.linears_mut().into_iter().flatten().filter(|linear| linear.path() == path) {
                let zeros = Tensor::from_f32(linear.shape().to_vec(), &vec![0.0; linear.shape().iter().product()])?;
                linear.set_dense(DenseWeight::upload(device, &zeros)?)?;
            }
            Ok(())
        });
        let zero = zero.await.expect("it is measured");
        let disabled = analyzer.analyze(&[Measure::Disable], &mut Silent).await.expect("it is measured");
        same(kl(&disabled.layers, path), zero.kl);
        // A value that adds nothing is an output that adds nothing.
        same(kl(&disabled.layers, "model.layers.2.self_attn.o_proj"), zero.kl);
        let mut prefix = start.clone();
        while prefix.next() < 2 {
            prefix = evaluator.advance(&prefix, |_, _| Ok(())).expect("it goes on");
        }
        let identity = evaluator.measure(&prefix.skipped(), |_, _| Ok(())).await.expect("it is measured");
        same(kl(&disabled.blocks, "model.layers.2"), identity.kl);

        // The noise repeats, and restoring all of it would leave nothing: the parts of one block are less than the whole.
        let noise = analyzer.analyze(&[Measure::Noise], &mut Silent).await.expect("it is measured");
        assert_eq!(noise.layers, analyzer.layers(Measure::Noise, &mut Silent).await.expect("it is measured"));
        let other = ImportanceConfig { seed: 7, ..config(&["w4g32s"]) };
        let other = ImportanceAnalyzer::new(&evaluator, &data, other);
        assert_ne!(noise.layers, other.layers(Measure::Noise, &mut Silent).await.expect("it is measured"));
        assert!(noise.blocks.iter().all(|block| block.findings[0].kl > 0.0));
    });
}

/// What lies in front of a change is computed once, and the prediction takes no pass of its own for each.
#[test]
fn changes_do_not_cost_whole_passes() {
    pollster::block_on(async {
        let data = text(1, 16);
        let evaluator = evaluator(&tiny(), &data).await;
        let rungs = config(&["w8g32s", "w4g32s", "w2g32s"]);
        let analyzer = ImportanceAnalyzer::new(&evaluator, &data, rungs);
        let found = analyzer.analyze(&Measure::ALL, &mut Silent).await.expect("it is measured");
        let (blocks, layers) = (found.blocks.len() as u64, found.layers.len() as u64);
        assert_eq!((blocks, layers), (4, 28));
        // From each of 4 blocks on: 4 + 3 + 2 + 1.
        let (from_there, each) = (blocks * (blocks + 1) / 2, layers / blocks + 1);
        for cost in &found.costs {
            let (rungs, others) = (3, blocks);
            let expected = match cost.measure {
                Measure::Rtn => rungs * each * from_there + others,
                // What everything together costs is measured first.
                Measure::Upgrade | Measure::Noise => each * from_there + others + blocks,
                // A block that is disabled is not computed.
                Measure::Disable => each * from_there - blocks + others,
                Measure::Gradient => 2 * blocks,
            };
            assert_eq!(cost.block_passes, expected, "{:?}", cost.measure);
            let several = matches!(cost.measure, Measure::Rtn | Measure::Gradient);
            let whole = if several { rungs } else { 1 } * (layers + blocks) * blocks;
            assert_eq!(cost.whole_block_passes, whole, "{:?}", cost.measure);
        }
        assert!(found.layers.iter().all(|layer| layer.findings.len() == 9 && (0.0..=1.0).contains(&layer.score)));
        assert_eq!(found.correlations.len(), 6);
        let json = serde_json::to_string(&found).expect("all is finite");
        assert_eq!(serde_json::from_str::<Importance>(&json).expect("the same"), found);
    });
}

/// A prediction is to the lowest order of the error: small errors come out as they are measured.
#[test]
fn predictions_are_near_what_is_measured() {
    pollster::block_on(async {
        let data = text(24, 32);
        let evaluator = evaluator(&tiny(), &data).await;
        let analyzer = ImportanceAnalyzer::new(&evaluator, &data, config(&["w4g32s"]));
        let found = analyzer.analyze(&[Measure::Rtn, Measure::Gradient], &mut Silent).await.expect("it is measured");
        let rank = found.correlations[0].layers.expect("they differ");
        assert!(rank > 0.9, "{rank}");
        // Of a block too, whose layers change together.
        for units in [&found.layers, &found.blocks] {
            let sum = |at: usize| units.iter().map(|unit| unit.findings[at].kl).sum::<f64>();
            let ratio = sum(1) / sum(0);
            assert!((0.7..1.4).contains(&ratio), "{ratio}");
        }
    });
}

/// Three layers in one tensor, biases, learned positions, norms within attention.
#[test]
fn every_family_is_analyzed() {
    pollster::block_on(async {
        for (name, layers) in [("gpt2-tied", 4), ("opt-350m-like", 6), ("qwen3-norms", 7), ("mistral-window", 7)] {
            let folder = folder("tests/golden/families").join(name);
            let vocabulary = StreamedModel::open(&folder, &Device::cpu()).expect("the model").config().vocab_size;
            let data = drawn(u32::try_from(vocabulary).expect("a small one"), 2, 8);
            let evaluator = evaluator(&folder, &data).await;
            let rungs = config(&["w8g16a", "w2g16a", "w1.58g16s"]);
            let analyzer = ImportanceAnalyzer::new(&evaluator, &data, rungs);
            let found = analyzer.analyze(&Measure::ALL, &mut Silent).await.expect("it is measured");
            assert_eq!(found.layers.len(), layers * found.blocks.len(), "{name}");
            let weights = |units: &[UnitImportance]| units.iter().map(|unit| unit.weights).sum::<u64>();
            assert_eq!(weights(&found.layers), weights(&found.blocks), "{name}");
            for unit in found.layers.iter().chain(&found.blocks) {
                assert!(unit.findings.iter().all(|f| f.kl.is_finite() && f.increase.is_finite()), "{name}: {unit:?}");
                assert!(unit.findings[0].kl < unit.findings[1].kl, "{name}: {unit:?}");
            }
        }
    });
}

struct Stopped;

impl Progress for Stopped {
    fn begin(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self) {}
    fn cancelled(&self) -> bool {
        true
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    pollster::block_on(async {
        let data = text(1, 8);
        let evaluator = evaluator(&tiny(), &data).await;
        for measure in Measure::ALL {
            let analyzer = ImportanceAnalyzer::new(&evaluator, &data, config(&["w4g32s", "w2g32s"]));
            let error = analyzer.layers(measure, &mut Stopped).await.expect_err("it is stopped");
            assert!(matches!(error, Error::Cancelled), "{error}");
        }
        for (config, measure, words) in [
            (config(&[]), Measure::Rtn, "bits_ladder"),
            (config(&["w4g32s"]), Measure::Upgrade, "bits_ladder"),
            (ImportanceConfig { noise: f32::NAN, ..config(&[]) }, Measure::Noise, "noise"),
            (
                ImportanceConfig { combination: "source".parse().expect("a name"), ..config(&[]) },
                Measure::Noise,
                "4 bits",
            ),
        ] {
            let analyzer = ImportanceAnalyzer::new(&evaluator, &data, config);
            let error = analyzer.layers(measure, &mut Silent).await.expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    });
}
