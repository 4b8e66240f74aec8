//! Model folders through a method that works block by block: stopped, gone on with, damaged, bounded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bitsmith::calib::CalibrationDataset;
use bitsmith::io::{Text, TokenStream, Tokenizer};
use bitsmith::progress::{Progress, Silent};
use bitsmith::quant::{Learned, LearnedConfig, Outcome, QuantizeRequest, Rtn, RtnConfig, TuneConfig, quantize_model};
use bitsmith::scheme::Plan;
use bitsmith::{Device, Error, Random, Result};
use serde_json::Value;
use tempfile::TempDir;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny-llama")
}

/// Query, key and value in one tensor, stored transposed.
fn gpt2() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families/gpt2-tied")
}

fn learned(seed: u32) -> Learned {
    let group_size = "32".parse().unwrap();
    let tune = TuneConfig::NONE;
    let config = LearnedConfig {
        bits: 2,
        group_size,
        asymmetric: true,
        iters: 4,
        batch_size: 4,
        seed,
        tune,
        ..Default::default()
    };
    Learned::new(config).unwrap()
}

fn text(samples: usize, seq_len: usize) -> CalibrationDataset {
    let tokenizer = Tokenizer::read(&tiny(), 1 << 20).unwrap();
    let text = Text::read(&tiny().join("calibration.txt")).unwrap();
    let stream = TokenStream::encode(&[text.content()], &tokenizer).unwrap();
    CalibrationDataset::from_stream(&stream, samples, seq_len).unwrap()
}

fn random_tokens(seed: u32) -> CalibrationDataset {
    let mut random = Random::new(seed);
    let mut sequence = || (0..12).map(|_| random.below(60)).collect();
    CalibrationDataset::from_sequences((0..6).map(|_| sequence()).collect()).unwrap()
}

/// Asks to stop after so many steps forward.
struct Stop(usize);

impl Progress for Stop {
    fn begin(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, _: u64, _: &str) {
        self.0 = self.0.saturating_sub(1);
    }
    fn end(&mut self) {}
    fn cancelled(&self) -> bool {
        self.0 == 0
    }
}

struct Place {
    method: Learned,
    folder: TempDir,
    model: PathBuf,
    data: CalibrationDataset,
}

impl Place {
    fn new(model: PathBuf, data: CalibrationDataset) -> Self {
        Self { method: learned(42), folder: tempfile::tempdir().unwrap(), model, data }
    }

    /// With all blocks tuned together at the end.
    fn tuned() -> Self {
        let tune = TuneConfig { tune_iters: 6, tune_batch_size: Some(4), ..TuneConfig::default() };
        let group_size = "32".parse().unwrap();
        let config = LearnedConfig {
            bits: 2,
            group_size,
            asymmetric: true,
            iters: 2,
            batch_size: 4,
            tune,
            ..Default::default()
        };
        Self { method: Learned::new(config).unwrap(), ..Self::new(tiny(), text(16, 32)) }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn request(&self) -> QuantizeRequest {
        QuantizeRequest::new(&self.model, self.out()).calibration(self.data.clone()).resume()
    }

    fn run(&self, request: &QuantizeRequest, progress: &mut dyn Progress) -> Result<Outcome> {
        pollster::block_on(quantize_model(&Device::cpu(), &self.method, request, progress))
    }

    /// Stops after so many steps; what is finished stays.
    fn stopped(&self, steps: usize) {
        let stopped = self.run(&self.request(), &mut Stop(steps));
        assert!(matches!(stopped, Err(Error::Unfinished { .. })), "{stopped:?}");
    }

    /// All files, of the record all but the times.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.out()).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap());
        let mut files: BTreeMap<_, _> = entries.map(read).collect();
        let mut record: Value = serde_json::from_slice(&files["bitsmith.json"]).unwrap();
        record["blocks"].as_array_mut().unwrap().iter_mut().for_each(|block| drop(block["seconds"].take()));
        files.insert("bitsmith.json".into(), record.to_string().into_bytes());
        files
    }
}

fn same(a: &Place, b: &Place) {
    let (a, b) = (a.files(), b.files());
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(b[name] == *bytes, "{name} differs");
    }
}

#[test]
fn a_run_that_was_stopped_gives_the_bytes_of_an_unbroken_one() {
    for (model, data) in [(tiny(), text(8, 32)), (gpt2(), random_tokens(1))] {
        let unbroken = Place::new(model.clone(), data.clone());
        let done = unbroken.run(&unbroken.request(), &mut Silent).unwrap();
        let blocks = &done.record.blocks;
        assert!(blocks.iter().enumerate().all(|(i, block)| block.index == i && block.best_iteration.is_some()));
        assert_eq!(done.record.calibration.as_ref().unwrap().samples, data.sequences().len());
        assert!(!done.record.layers.is_empty() && blocks.iter().all(|block| block.loss_before > Some(0.0)));
        // While tensors are copied, while blocks are trained, twice in one run.
        for stops in [&[2][..], &[20], &[26, 12]] {
            let place = Place::new(model.clone(), data.clone());
            stops.iter().for_each(|steps| place.stopped(*steps));
            let resumed = place.run(&place.request(), &mut Silent).unwrap();
            assert!(resumed.resumed > 0 && resumed.notes.iter().all(|note| !note.contains("made again")));
            same(&place, &unbroken);
        }
    }
}

/// Counts steps forward.
struct Count(usize);

impl Progress for Count {
    fn begin(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, _: u64, _: &str) {
        self.0 += 1;
    }
    fn end(&mut self) {}
}

#[test]
fn tuning_follows_and_goes_on_where_it_was_stopped() {
    let (unbroken, mut count) = (Place::tuned(), Count(0));
    let done = unbroken.run(&unbroken.request(), &mut count).unwrap();
    assert!(done.notes.iter().any(|note| note.contains("divergence")), "{:?}", done.notes);
    assert_eq!((done.record.blocks.len(), done.record.layers.len()), (4, 28));
    assert!(done.record.layers.iter().all(|layer| layer.mse > 0.0) && done.record.calibration.is_some());
    // In the first stage, at its end, while all are tuned, while the result is written.
    for steps in [count.0 / 4, count.0 / 2, count.0 * 3 / 5, count.0 * 9 / 10] {
        let place = Place::tuned();
        let stopped = place.run(&place.request(), &mut Stop(steps));
        assert!(matches!(stopped, Err(Error::Unfinished { .. })), "{steps}: {stopped:?}");
        place.run(&place.request(), &mut Silent).unwrap();
        same(&place, &unbroken);
        assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1, "nothing else is left");
    }
}

#[test]
fn what_tuning_would_stop_at_is_refused_before_the_first_block() {
    let (place, mut count) = (Place::tuned(), Count(0));
    let device = Device::cpu();
    device.set_memory_cap(4_000_000);
    let refused = pollster::block_on(quantize_model(&device, &place.method, &place.request(), &mut count)).unwrap_err();
    let words = ["tuning", "GB", "4000000 allowed", "--tune-iters 0"];
    assert!(words.iter().all(|word| refused.to_string().contains(word)), "{refused}");
    fs::create_dir(place.out()).unwrap();
    let refused = place.run(&place.request(), &mut count).unwrap_err();
    assert!(matches!(refused, Error::Config { .. }), "{refused}");
    assert_eq!((count.0, fs::read_dir(place.folder.path()).unwrap().count()), (0, 1));
}

/// Steps after which the second block of the small Llama is finished, and the third is not.
const TWO_BLOCKS: usize = 25;

#[test]
fn other_data_or_settings_are_refused_and_named() {
    let place = Place::new(tiny(), text(8, 32));
    place.stopped(TWO_BLOCKS);
    let refused = |request: &QuantizeRequest, seed| {
        let method = learned(seed);
        match pollster::block_on(quantize_model(&Device::cpu(), &method, request, &mut Silent)) {
            Err(Error::Config { field, detail }) if field == "resume" => detail,
            other => panic!("{other:?}"),
        }
    };
    let other = place.request().calibration(text(8, 31));
    assert!(refused(&other, 42).contains("the calibration data is another"));
    assert!(refused(&place.request(), 7).contains("seed was 42 and is 7"));
    let mut skip = place.request();
    skip.skip.push("layers.3.mlp.down_proj".into());
    assert!(refused(&skip, 42).contains("layers.3.mlp.down_proj was w2g32a and is kept"));
    // A bound of memory is no part of it.
    let bounded = QuantizeRequest { max_memory: Some(0), ..place.request() };
    assert!(place.run(&bounded, &mut Silent).unwrap().resumed > 0);
}

#[test]
fn a_flipped_byte_in_a_saved_block_is_found_named_and_made_again() {
    let unbroken = Place::new(tiny(), text(8, 32));
    unbroken.run(&unbroken.request(), &mut Silent).unwrap();
    let place = Place::new(tiny(), text(8, 32));
    place.stopped(TWO_BLOCKS);
    let file = place.folder.path().join(".out.partial/model/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let name = "model.layers.0.mlp.up_proj.weight_packed";
    let start = tensors[name]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[header + start + 3] ^= 0x20;
    fs::write(&file, bytes).unwrap();
    let resumed = place.run(&place.request(), &mut Silent).unwrap();
    let told: Vec<_> = resumed.notes.iter().filter(|note| note.contains("made again")).collect();
    assert!(matches!(told[..], [note] if note.contains(name)), "{told:?}");
    // The second block is kept: it is what the first gives that it was trained on, and that is the same again.
    assert!(resumed.resumed >= 7, "{}", resumed.resumed);
    same(&place, &unbroken);
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_written() {
    let place = Place::new(tiny(), text(8, 32));
    let refused = |request: &QuantizeRequest, words: &[&str]| {
        let error = place.run(request, &mut Silent).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 0);
    };
    let plan: Plan = [("lm_head", "w4g32s".parse().unwrap())].into_iter().collect();
    let has_head = bitsmith::io::Checkpoint::open(&tiny()).unwrap().contains("lm_head.weight");
    if has_head {
        refused(&QuantizeRequest { plan: Some(plan), ..place.request() }, &["lm_head", "no linear layer of a block"]);
    }
    let embedding: Plan = [("model.embed_tokens", "w4g32s".parse().unwrap())].into_iter().collect();
    let request = QuantizeRequest { plan: Some(embedding), ..place.request() };
    refused(&request, &["model.embed_tokens", "--skip model.embed_tokens", "--method rtn"]);
    refused(&QuantizeRequest { calibration: None, ..place.request() }, &["calibration", "learned"]);
    let weights = QuantizeRequest { model: tiny().join("model.safetensors"), ..place.request() };
    refused(&weights, &["without config.json", "--method rtn"]);
    let long = CalibrationDataset::from_sequences(vec![vec![1; 100_000]]).unwrap();
    refused(&place.request().calibration(long), &["seq_len", "context"]);
    let foreign = CalibrationDataset::from_sequences(vec![vec![u32::MAX; 4]]).unwrap();
    refused(&place.request().calibration(foreign), &["samples", "tokenizer"]);

    let rtn = Rtn::new(RtnConfig::default()).unwrap();
    let error = pollster::block_on(quantize_model(&Device::cpu(), &rtn, &place.request(), &mut Silent)).unwrap_err();
    assert!(error.to_string().contains("rtn learns from no text"), "{error}");
}

#[test]
fn an_unknown_architecture_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(tiny().join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let config = r#"{"model_type": "mamba", "architectures": ["MambaForCausalLM"]}"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    let place = Place::new(folder.path().to_path_buf(), random_tokens(1));
    let error = place.run(&place.request(), &mut Silent).unwrap_err();
    assert!(matches!(&error, Error::Unsupported { remedy, .. } if remedy.contains("--method rtn")), "{error}");
    assert!(!place.out().exists());
}

/// With a bound of nothing at all, every sequence waits in the file; two sets of activations are what a block is trained
/// on, and neither is in memory.
#[test]
fn a_bound_of_memory_keeps_activations_out_of_it_and_changes_nothing() {
    const SAMPLES: usize = 96;
    const TOKENS: usize = 64;
    let peak = |max_memory| {
        let device = Device::cpu();
        let place = Place::new(tiny(), text(SAMPLES, TOKENS));
        let request = QuantizeRequest { max_memory, ..place.request() };
        let tune = TuneConfig::NONE;
        let config = LearnedConfig { bits: 2, iters: 1, batch_size: 1, tune, ..Default::default() };
        let method = Learned::new(config).unwrap();
        pollster::block_on(quantize_model(&device, &method, &request, &mut Silent)).unwrap();
        (device.memory().peak, place)
    };
    let hidden = 128;
    let set = (SAMPLES * TOKENS * hidden * 4) as u64;
    let ((free, a), (bounded, b)) = (peak(None), peak(Some(0)));
    println!("peak of buffers: {free} bytes, bounded {bounded}; a set of activations has {set}");
    assert!(free + set / 8 >= bounded + 2 * set, "{free} and {bounded} bytes, sets of {set}");
    same(&a, &b);
    let (half, c) = peak(Some(set / 2));
    assert!((bounded..=bounded + set).contains(&half), "{half} bytes");
    same(&a, &c);
}
