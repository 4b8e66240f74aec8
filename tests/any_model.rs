//! Safetensors models that bitsmith cannot run: quantized weight by weight, with a warning. The shared MNIST models
//! need the folder `$BITSMITH_SHARED`, else `../shared`; without it they are listed as ignored.
//! `Cargo.toml` must register this file with `harness = false`.

use std::fs;
use std::path::{Path, PathBuf};

use bitsmith::eval::EvalRequest;
use bitsmith::io::{CheckpointWriter, ShardPlan, StoredDtype, TensorSpec};
use bitsmith::quant::{Outcome, QuantizeRequest, Rtn, RtnConfig, quantize_model};
use bitsmith::report::Inspection;
use bitsmith::{Device, Error, Random, progress::Silent};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Least signal-to-noise ratio of 4 bits in groups of 32 in decibels: normal weights have about 21, and small layers
/// vary around that.
const LEAST_SQNR: f64 = 18.0;

/// Quantizes to 4 bits in groups of 32.
fn quantize(request: &QuantizeRequest) -> bitsmith::Result<Outcome> {
    let rtn = Rtn::new(RtnConfig { group_size: "32".parse()?, ..Default::default() })?;
    pollster::block_on(quantize_model(&Device::cpu(), &rtn, request, &mut Silent))
}

/// Quantizes `model` and checks what holds of every model: the layers, one warning with these words, a folder that
/// opens again with the same layers, and the refusal to measure it.
fn check(model: &Path, layers: &[&str], warning: &[&str]) -> Result<(Outcome, TempDir), Failed> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let text = EvalRequest { text: "Cargo.toml".into(), ..Default::default() };
    match quantize(&QuantizeRequest::new(model, &out).quality(text)) {
        Err(error @ (Error::Unsupported { .. } | Error::Format { .. })) => contains(&error.to_string(), warning)?,
        other => return Err(format!("measured: {other:?}").into()),
    }
    same("files of a refused run", fs::read_dir(folder.path())?.count(), 0)?;

    let outcome = quantize(&QuantizeRequest::new(model, &out))?;
    let warnings: Vec<_> = outcome.notes.iter().filter(|note| note.starts_with("warning: ")).collect();
    let [found] = warnings[..] else { return Err(format!("warnings: {warnings:?}").into()) };
    contains(found, &[&["cannot be evaluated: "], warning].concat())?;
    let mut quantized: Vec<&str> = outcome.record.layers.iter().map(|layer| layer.path.as_str()).collect();
    quantized.sort_unstable();
    same("layers", &quantized[..], layers)?;
    for layer in &outcome.record.layers {
        let sqnr = layer.sqnr_db.ok_or("sqnr")?;
        same(&format!("{}: {sqnr} dB", layer.path), sqnr > LEAST_SQNR, true)?;
    }
    let opened = Inspection::read(&out)?;
    same("format", opened.format.as_deref(), Some("compressed-tensors"))?;
    let mut found: Vec<&str> = opened.entries.iter().filter(|e| e.quantized).map(|e| e.name.as_str()).collect();
    found.sort_unstable();
    same("layers when opened", &found[..], layers)?;
    let kept = opened.entries.iter().filter(|e| !e.quantized).count();
    same("kept tensors when opened", kept, outcome.record.kept.len())?;
    Ok((outcome, folder))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Failed> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}").into()) }
}

fn contains(text: &str, words: &[&str]) -> Result<(), Failed> {
    match words.iter().find(|word| !text.contains(*word)) {
        None => Ok(()),
        Some(word) => Err(format!("`{word}` is not in: {text}").into()),
    }
}

/// The note about tensors with more than two axes.
fn no_matrices(outcome: &Outcome) -> Option<&String> {
    outcome.notes.iter().find(|note| note.contains("more than two axes"))
}

/// Writes normally distributed f32 tensors of these names and shapes, and 64-bit zeros where the name says so.
fn write(folder: &Path, tensors: &[(String, Vec<usize>)], config: Option<Value>) -> Result<(), Failed> {
    fs::create_dir_all(folder)?;
    let dtype = |name: &str| if name.ends_with("_ids") { StoredDtype::I64 } else { StoredDtype::F32 };
    let specs = tensors.iter().map(|(name, shape)| TensorSpec::new(name.clone(), dtype(name), shape.clone()));
    let mut writer = CheckpointWriter::create(folder, ShardPlan::new(specs.collect(), u64::MAX)?)?;
    let mut random = Random::new(7);
    for (name, shape) in tensors {
        let count = shape.iter().product::<usize>();
        let bytes: Vec<u8> = match dtype(name) {
            StoredDtype::I64 => vec![0; count * 8],
            _ => (0..count).flat_map(|_| (0.02 * random.normal()).to_le_bytes()).collect(),
        };
        writer.write(name, &bytes)?;
    }
    writer.finish()?;
    if let Some(config) = config {
        fs::write(folder.join("config.json"), config.to_string())?;
    }
    Ok(())
}

/// The tensors of a BERT for classification with two small blocks, under the names of transformers.
fn bert() -> Vec<(String, Vec<usize>)> {
    const HIDDEN: usize = 64;
    let mut tensors = vec![("bert.embeddings.position_ids".to_owned(), vec![1, 32])];
    let mut add = |name: String, shape: &[usize]| tensors.push((name, shape.to_vec()));
    for (name, rows) in [("word", 100), ("position", 32), ("token_type", 2)] {
        add(format!("bert.embeddings.{name}_embeddings.weight"), &[rows, HIDDEN]);
    }
    let norm = |add: &mut dyn FnMut(String, &[usize]), name: &str| {
        add(format!("{name}.weight"), &[HIDDEN]);
        add(format!("{name}.bias"), &[HIDDEN]);
    };
    norm(&mut add, "bert.embeddings.LayerNorm");
    let mut linear = |name: String, rows: usize, cols: usize| {
        add(format!("{name}.weight"), &[rows, cols]);
        add(format!("{name}.bias"), &[rows]);
    };
    for block in 0..2 {
        let block = format!("bert.encoder.layer.{block}");
        for name in ["self.query", "self.key", "self.value", "output.dense"] {
            linear(format!("{block}.attention.{name}"), HIDDEN, HIDDEN);
        }
        linear(format!("{block}.intermediate.dense"), 4 * HIDDEN, HIDDEN);
        linear(format!("{block}.output.dense"), HIDDEN, 4 * HIDDEN);
    }
    linear("bert.pooler.dense".to_owned(), HIDDEN, HIDDEN);
    linear("classifier".to_owned(), 3, HIDDEN);
    linear("cls.predictions.decoder".to_owned(), 100, HIDDEN);
    for block in 0..2 {
        for name in ["attention.output", "output"] {
            norm(&mut add, &format!("bert.encoder.layer.{block}.{name}.LayerNorm"));
        }
    }
    tensors
}

/// The layers of [`bert`] that are quantized, sorted.
fn bert_layers() -> Vec<String> {
    let mut layers: Vec<String> = ["bert.pooler.dense", "classifier"].map(String::from).into();
    for block in 0..2 {
        for name in [
            "attention.output.dense",
            "attention.self.key",
            "attention.self.query",
            "attention.self.value",
            "intermediate.dense",
            "output.dense",
        ] {
            layers.push(format!("bert.encoder.layer.{block}.{name}"));
        }
    }
    layers.sort_unstable();
    layers
}

fn a_bert() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("bert");
    let config = json!({"model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": 64});
    write(&model, &bert(), Some(config))?;
    fs::write(model.join("vocab.txt"), "[PAD]\n")?;
    let layers = bert_layers();
    let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
    let (outcome, out) = check(&model, &layers, &["bert"])?;
    same("note", no_matrices(&outcome), None)?;
    let out = out.path().join("out");
    same("vocabulary", out.join("vocab.txt").exists(), true)?;
    let written: Value = serde_json::from_slice(&fs::read(out.join("config.json"))?)?;
    same("architecture", &written["architectures"][0], &json!("BertForSequenceClassification"))?;
    let ignored = written["quantization_config"]["ignore"].as_array().ok_or("ignore")?;
    let embedding = json!("bert.embeddings.word_embeddings");
    same("ignored", ignored.contains(&embedding) && ignored.contains(&json!("cls.predictions.decoder")), true)
}

fn a_folder_without_config() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("net");
    write(&model, &[("a.weight".into(), vec![8, 64]), ("a.bias".into(), vec![8])], None)?;
    let (_, out) = check(&model, &["a"], &["config.json"])?;
    let written: Value = serde_json::from_slice(&fs::read(out.path().join("out/config.json"))?)?;
    let keys: Vec<_> = written.as_object().ok_or("object")?.keys().cloned().collect();
    same("keys", keys, vec!["quantization_config".to_owned()])
}

/// What lies beside a file need not belong to it.
fn a_file() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let tensors = [("a.weight".into(), vec![8, 64]), ("c.weight".into(), vec![4, 2, 3, 3])];
    write(folder.path(), &tensors, Some(json!({"model_type": "llama"})))?;
    fs::write(folder.path().join("tokenizer.json"), "{}")?;
    let file = folder.path().join("net.safetensors");
    fs::rename(folder.path().join("model.safetensors"), &file)?;
    let (outcome, out) = check(&file, &["a"], &["a file of weights alone"])?;
    contains(no_matrices(&outcome).ok_or("note")?, &["1 tensor", "c.weight"])?;
    same("model", outcome.record.model.as_str(), "net.safetensors")?;
    let mut names: Vec<_> = fs::read_dir(out.path().join("out"))?.flatten().map(|e| e.file_name()).collect();
    names.sort();
    same("files", names, ["bitsmith.json", "config.json", "model.safetensors"].map(Into::into).into())
}

fn shared() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("BITSMITH_SHARED").map_or_else(default, PathBuf::from)
}

fn mnist((model, kind, convolutions): (&str, &str, &[&str])) -> Result<(), Failed> {
    let (outcome, _) = check(&shared().join("models").join(model), &["fc1", "fc2"], &[kind])?;
    let kept = &outcome.record.kept;
    same("kept", convolutions.iter().all(|name| kept.iter().any(|kept| kept == name)), true)?;
    match (no_matrices(&outcome), convolutions) {
        (None, []) => Ok(()),
        (Some(note), [_, ..]) => contains(note, convolutions),
        (note, _) => Err(format!("note: {note:?}").into()),
    }
}

/// Model, its type, and its convolutions.
const MNIST: [(&str, &str, &[&str]); 3] = [
    ("mnist-mlp-784-100-10", "`mlp`", &[]),
    ("mnist-lenet", "`lenet`", &["conv1.weight", "conv2.weight"]),
    ("mnist-burn-cnn", "`burn-mnist-cnn`", &["conv1.weight", "conv2.weight", "conv3.weight"]),
];

fn main() {
    let arguments = Arguments::from_args();
    let present = shared().join("SOURCES.md").exists();
    let mut trials = vec![
        Trial::test("a_bert", a_bert),
        Trial::test("a_folder_without_config", a_folder_without_config),
        Trial::test("a_file", a_file),
    ];
    for row in MNIST {
        let trial = Trial::test(format!("mnist::{}", row.0), move || mnist(row));
        trials.push(trial.with_ignored_flag(!present).with_kind(if present { "" } else { "needs shared/" }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
