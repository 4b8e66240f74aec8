//! What a search keeps on disk, and how the pipeline goes with a method that searches: stopped, gone on with, damaged, refused.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bitsmith::calib::CalibrationDataset;
use bitsmith::export::{
    CodesFrom, Method, SearchMemory, SearchPhase, SearchQuality, SearchRecord, SearchStep, SearchedLayer,
};
use bitsmith::io::{Checkpoint, Checksum};
use bitsmith::op::{LayerInput, WeightError};
use bitsmith::progress::{Progress, Silent};
use bitsmith::quant::{
    Fingerprint, LayerChoice, LayerJob, LayerQuantizer, NamedLayer, Observation, ObserveJob, ObservingQuantizer,
    Outcome, QuantizeRequest, QuantizedLayer, Quantizer, Task, Way, quantize, quantize_model,
};
use bitsmith::scheme::Plan;
use bitsmith::search::{AcceptedStore, GradualQuantizer, MixedPrecisionConfig};
use bitsmith::{Device, Error, PackedTensor, QuantizedTensor, Result, Scheme, Tensor};
use tempfile::TempDir;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny-llama")
}

fn scheme(text: &str) -> Scheme {
    text.parse().unwrap()
}

/// Accepts every layer as it comes: 4 bits and 2 bits in turns.
#[derive(Default)]
struct Searching {
    seed: u32,
    /// Fails for good when so many layers are accepted.
    fails_at: Option<usize>,
    /// Layers that were accepted before the last search began.
    found_before: Cell<usize>,
    searches: Cell<usize>,
    store: RefCell<Option<AcceptedStore>>,
}

fn step(path: &str, to: Scheme, rolled_back: Option<&str>) -> SearchStep {
    SearchStep {
        phase: SearchPhase::Walk,
        layers: vec![path.to_owned()],
        from: None,
        to,
        codes: CodesFrom::Rtn,
        predicted: None,
        measured: SearchQuality::new(1.0 / 3.0 + 4.0, 0.1),
        bytes: 7,
        rolled_back: rolled_back.map(str::to_owned),
    }
}

impl Searching {
    async fn search(&self, store: &mut AcceptedStore, job: ObserveJob<'_>) -> Result<SearchRecord> {
        let checkpoint = Checkpoint::open(&tiny())?;
        let mut layers = Vec::new();
        job.progress.begin("searching", job.footprint.layers().len() as u64);
        for (i, layer) in job.footprint.layers().iter().enumerate() {
            let scheme = scheme(["w4g32s", "w2g64a"][i % 2]);
            let bytes = job.footprint.bytes(layer, scheme).unwrap();
            layers.push(SearchedLayer { path: layer.path.clone(), scheme, codes: CodesFrom::Rtn, bytes });
            if store.layer(&layer.path)?.is_some() {
                continue;
            }
            if job.progress.cancelled() {
                return Err(Error::Cancelled);
            }
            if Some(i) == self.fails_at {
                return Err(Error::config("max_kl", "cannot be held"));
            }
            let raw = checkpoint.raw(&format!("{}.weight", layer.path))?;
            let weight = Tensor::new(layer.dtype, raw.shape.to_vec(), raw.bytes)?;
            let weight = PackedTensor::pack(&quantize(&Device::cpu(), &weight, scheme).await?);
            let layer = QuantizedLayer { weight, error: WeightError::default() };
            store.reject(step(&layers[i].path, scheme, Some("too dear")))?;
            store.accept(step(&layers[i].path, scheme, None), &[NamedLayer { path: layers[i].path.clone(), layer }])?;
            job.progress.advance(1, "");
        }
        job.progress.end();
        let size = job.footprint.size();
        let after = size.kept_bytes + layers.iter().map(|layer| layer.bytes).sum::<u64>();
        let memory = SearchMemory { before: size.original_bytes, after, peak: None };
        let steps = store.steps().to_vec();
        Ok(SearchRecord { original_perplexity: 4.5, layers, steps, memory, ..SearchRecord::default() })
    }
}

impl Quantizer for Searching {
    fn name(&self) -> &'static str {
        "searching"
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({ "seed": self.seed })
    }

    fn scheme(&self) -> Scheme {
        scheme("w8g32s")
    }

    fn way(&self, _: bool) -> Way<'_> {
        Way::Observed(self)
    }
}

impl ObservingQuantizer for Searching {
    fn observe<'a>(&'a self, job: ObserveJob<'a>) -> Task<'a, Observation> {
        Box::pin(async move {
            drop(self.store.take());
            let mut store = AcceptedStore::open(job.state, job.fingerprint, job.resume)?;
            self.found_before.set(store.schemes().len());
            let total = job.footprint.layers().len();
            let record = match store.finished().cloned() {
                Some(record) => record,
                None => {
                    self.searches.set(self.searches.get() + 1);
                    match self.search(&mut store, job).await {
                        Ok(record) => {
                            store.finish(&record)?;
                            record
                        }
                        Err(cause) => return Err(store.failed(cause, total)),
                    }
                }
            };
            *self.store.borrow_mut() = Some(store);
            let choice = |layer: &SearchedLayer| {
                let choice = LayerChoice { scheme: layer.scheme, input: LayerInput::Exact, observed: None };
                (layer.path.clone(), choice)
            };
            Ok(Observation { choices: record.layers.iter().map(choice).collect(), search: Some(record) })
        })
    }
}

impl LayerQuantizer for Searching {
    fn quantize<'a>(&'a self, job: &'a LayerJob<'a>) -> Task<'a, QuantizedLayer> {
        Box::pin(async move { Ok(self.store.borrow().as_ref().unwrap().layer(job.path)?.unwrap()) })
    }
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

fn request(folder: &TempDir) -> QuantizeRequest {
    let data = CalibrationDataset::from_sequences(vec![vec![1, 2, 3, 4]]).unwrap();
    QuantizeRequest::new(tiny(), folder.path().join("out")).calibration(data)
}

fn run(quantizer: &Searching, request: &QuantizeRequest, progress: &mut dyn Progress) -> Result<Outcome> {
    pollster::block_on(quantize_model(&Device::cpu(), quantizer, request, progress))
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Everything but the record, which holds no times here but a search of its own.
fn weights(folder: &TempDir) -> Vec<u8> {
    fs::read(folder.path().join("out/model.safetensors")).unwrap()
}

#[test]
fn a_search_decides_and_its_bytes_are_real() {
    let folder = tempfile::tempdir().unwrap();
    let done = run(&Searching::default(), &request(&folder), &mut Silent).unwrap();
    let search = done.record.search.as_ref().unwrap();
    assert_eq!(done.record.layers.len(), 28);
    for (made, searched) in done.record.layers.iter().zip(&search.layers) {
        assert_eq!((&made.path, made.scheme, made.observed), (&searched.path, searched.scheme, None));
        assert_eq!(made.bytes, searched.bytes, "{}", made.path);
    }
    assert_eq!(search.memory.after, done.record.sizes.quantized_bytes);
    assert_eq!(search.memory.before, done.record.sizes.original_bytes);
    assert_eq!(search.steps.len(), 2 * 28);
    assert_eq!(bitsmith::export::Record::read(&folder.path().join("out")).unwrap(), done.record);
    assert_eq!(listing(folder.path()), ["out"], "nothing is left beside the result");
    // What was decided is a plan that does the same again.
    let plan = done.record.plan();
    assert_eq!(plan.len(), 28);
    assert_eq!(plan.get(&search.layers[3].path), Some(search.layers[3].scheme));
}

#[test]
fn a_search_that_was_stopped_goes_on() {
    let [whole, folder] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    run(&Searching::default(), &request(&whole), &mut Silent).unwrap();
    let quantizer = Searching::default();
    let stopped = run(&quantizer, &request(&folder), &mut Stop(9));
    let Err(Error::Unfinished { finished: 9, total: 28, folder: state, .. }) = stopped else { panic!("{stopped:?}") };
    assert_eq!(state, folder.path().join(".out.search"));
    assert_eq!(listing(folder.path()), [".out.search"]);

    let resumed = request(&folder).resume();
    let other = Searching { seed: 1, ..Searching::default() };
    let refused = run(&other, &resumed, &mut Silent).unwrap_err().to_string();
    assert!(refused.contains(".out.search") && refused.contains("seed was 0 and is 1"), "{refused}");

    // Stopped again, with the search done and the first tensors written.
    let quantizer = Searching::default();
    let stopped = run(&quantizer, &resumed, &mut Stop(19 + 2));
    assert!(matches!(stopped, Err(Error::Unfinished { finished: 2, .. })), "{stopped:?}");
    assert_eq!((quantizer.found_before.get(), quantizer.searches.replace(0)), (9, 1));
    assert_eq!(listing(folder.path()), [".out.partial", ".out.search"]);

    let done = run(&quantizer, &resumed, &mut Silent).unwrap();
    assert_eq!((quantizer.searches.get(), done.resumed), (0, 2), "what is found is not looked for again");
    assert_eq!(listing(folder.path()), ["out"]);
    assert!(weights(&folder) == weights(&whole), "as without a stop");
    assert_eq!(done.record.search.unwrap().steps.len(), 2 * 28);
}

#[test]
fn a_search_without_hope_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let quantizer = Searching { fails_at: Some(5), ..Searching::default() };
    let failed = run(&quantizer, &request(&folder), &mut Silent);
    assert!(matches!(&failed, Err(Error::Config { field, .. }) if field == "max_kl"), "{failed:?}");
    assert_eq!(listing(folder.path()), [""; 0]);

    // A place that is taken is told of before the search.
    fs::create_dir(folder.path().join("out")).unwrap();
    let quantizer = Searching::default();
    let refused = run(&quantizer, &request(&folder), &mut Silent).unwrap_err().to_string();
    assert!(refused.contains("exists") && quantizer.searches.get() == 0, "{refused}");
}

#[test]
fn a_plan_is_for_its_model_and_its_method() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &str, to: &str, quantizer: &dyn Quantizer, words: &[&str]| {
        let plan: Plan = [(path, scheme(to))].into_iter().collect();
        let request = QuantizeRequest { plan: Some(plan), ..QuantizeRequest::new(tiny(), folder.path().join("out")) };
        let error = pollster::block_on(quantize_model(&Device::cpu(), quantizer, &request, &mut Silent));
        let error = error.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    use bitsmith::quant::{LlmInt8, Rtn, Ternary};
    const Q: &str = "model.layers.0.self_attn.q_proj";
    let rtn = Rtn::new(Default::default()).unwrap();
    refused("layers.0.self_attn.q_proj", "w4g32s", &rtn, &["nearest is model.layers.0.self_attn.q_proj"]);
    refused(Q, "w4g32s", &Ternary::new(Default::default()), &[Q, "w4g32s", "three levels"]);
    refused(Q, "w8g32s", &LlmInt8::new(Default::default()).unwrap(), &[Q, "w8cs"]);
    let searched = Rtn::new(bitsmith::quant::RtnConfig { search: true, ..Default::default() }).unwrap();
    refused(Q, "w4ts", &searched, &[Q, "whole tensor"]);
    assert_eq!(listing(folder.path()), [""; 0]);
}

#[test]
fn a_plan_leaves_nothing_to_look_for() {
    let folder = tempfile::tempdir().unwrap();
    let plan: Plan = [("model.layers.0.self_attn.q_proj", scheme("w4g32s"))].into_iter().collect();
    let settings = MixedPrecisionConfig::builder;
    for (config, goal) in [
        (settings().max_perplexity_increase("5%"), "max_perplexity_increase"),
        (settings().max_kl(0.1), "max_kl"),
        (settings().target_memory_reduction(0.5), "target_memory_reduction"),
        (settings().target_bits(3.0), "target_bits"),
        (settings().target_size("2GB"), "target_size"),
    ] {
        let gradual = GradualQuantizer::new(config.build().unwrap()).unwrap();
        let request = QuantizeRequest { plan: Some(plan.clone()), ..request(&folder) };
        let refused = pollster::block_on(quantize_model(&Device::cpu(), &gradual, &request, &mut Silent));
        let Err(Error::Config { field, detail }) = refused else { panic!("{refused:?}") };
        assert!(field == "plan" && detail.contains(goal) && detail.contains("leave one"), "{field}: {detail}");
    }
    assert_eq!(listing(folder.path()), [""; 0]);
}

fn fingerprint(seed: u32) -> Fingerprint {
    Fingerprint {
        bitsmith: "0".into(),
        method: Method { name: "gradual".into(), settings: serde_json::json!({ "seed": seed }) },
        plan: Plan::default(),
        format: "f".into(),
        shard_size: 1,
        device: "cpu".into(),
        config: Checksum::of(b"{}"),
        calibration: None,
        files: Vec::new(),
    }
}

/// A layer whose codes tell which one it is.
fn layer(path: &str, value: u8) -> NamedLayer {
    let scheme = scheme("w4g16a");
    let tensor = QuantizedTensor::new(scheme, 2, 3, vec![value; 6], vec![f32::from(value), 0.5], Some(vec![1, 2]));
    let layer = QuantizedLayer { weight: PackedTensor::pack(&tensor.unwrap()), error: WeightError::default() };
    NamedLayer { path: path.into(), layer }
}

/// Five steps over two layers; each layer is replaced once.
fn store(folder: &Path) -> AcceptedStore {
    let mut store = AcceptedStore::open(folder, &fingerprint(0), false).unwrap();
    store.accept(step("a", scheme("w4g16a"), None), &[layer("a", 1)]).unwrap();
    store.accept(step("b", scheme("w4g16a"), None), &[layer("b", 2)]).unwrap();
    store.reject(step("b", scheme("w4g16a"), Some("KL"))).unwrap();
    store.accept(step("a", scheme("w4g16a"), None), &[layer("a", 3), layer("b", 4)]).unwrap();
    store
}

fn values(store: &AcceptedStore) -> BTreeMap<String, f32> {
    let paths: Vec<String> = store.schemes().map(|(path, _)| path.to_owned()).collect();
    paths.into_iter().map(|path| (path.clone(), store.layer(&path).unwrap().unwrap().weight.scales[0])).collect()
}

#[test]
fn accepted_codes_outlive_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("state");
    let steps = store(&folder).steps().to_vec();
    let resumed = AcceptedStore::open(&folder, &fingerprint(0), true).unwrap();
    assert_eq!(resumed.steps(), steps, "numbers come back to the last bit");
    assert_eq!(values(&resumed), [("a".into(), 3.0), ("b".into(), 4.0)].into());
    assert!(resumed.layer("c").unwrap().is_none() && resumed.finished().is_none());
    assert_eq!(listing(&folder), ["3-0.codes", "3-1.codes", "journal", "lock"]);

    // Another process at the same place.
    let refused = AcceptedStore::open(&folder, &fingerprint(0), true).unwrap_err().to_string();
    assert!(refused.contains("another process"), "{refused}");
    drop(resumed);
    let refused = AcceptedStore::open(&folder, &fingerprint(1), true).unwrap_err().to_string();
    assert!(refused.contains("seed was 0 and is 1"), "{refused}");

    // Codes whose line never reached the disk are not accepted, and go away.
    let journal = folder.join("journal");
    let bytes = fs::read(&journal).unwrap();
    fs::write(folder.join("4-0.codes"), "half").unwrap();
    fs::write(&journal, [&bytes, &b"0123"[..]].concat()).unwrap();
    let resumed = AcceptedStore::open(&folder, &fingerprint(0), true).unwrap();
    assert_eq!((resumed.steps().len(), values(&resumed)["a"]), (4, 3.0));
    assert!(!folder.join("4-0.codes").exists());
    drop(resumed);

    // Without a wish to resume it starts anew.
    let fresh = AcceptedStore::open(&folder, &fingerprint(1), false).unwrap();
    assert_eq!((fresh.steps().len(), fresh.schemes().len()), (0, 0));
    assert_eq!(listing(&folder), ["journal", "lock"]);
}

#[test]
fn damage_is_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("state");
    let refused = |words: &[&str]| {
        let error = AcceptedStore::open(&folder, &fingerprint(0), true).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    drop(store(&folder));
    let file = folder.join("3-1.codes");
    let bytes = fs::read(&file).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&file, damaged).unwrap();
        refused(&["3-1.codes", "not as it was saved", "without --resume"]);
    }
    fs::remove_file(&file).unwrap();
    refused(&["3-1.codes"]);
    fs::write(&file, &bytes).unwrap();
    let journal = folder.join("journal");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen("0.1", "0.2", 1)).unwrap();
    refused(&["journal", "1 lines are damaged"]);
    fs::write(&journal, text.replacen("gradual", "Gradual", 1)).unwrap();
    refused(&["first line", "damaged"]);

    let foreign = root.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.txt"), "years").unwrap();
    let error = AcceptedStore::open(&foreign, &fingerprint(0), false).unwrap_err().to_string();
    assert!(error.contains("not a folder that bitsmith left"), "{error}");
    assert_eq!(listing(&foreign), ["thesis.txt"]);
}
