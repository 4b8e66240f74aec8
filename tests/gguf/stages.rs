//! What is looked at before the layers are quantized, and what is gone on with after them.

use std::fs;
use std::path::Path;

use bitsmith::progress::Progress;
use bitsmith::quant::{ExportRequest, QuantizeRequest, Rtn, RtnConfig, export_model, quantize_model};
use bitsmith::{Device, Error};

const MODEL: &str = "examples/tiny-llama";
const FOREIGN: &str = "tests/golden/gguf/foreign.gguf";
/// The stage that makes the file of the layers.
const SECOND: &str = "exporting";

/// Hears of the stages, and stops one.
#[derive(Default)]
struct Heard {
    stages: Vec<String>,
    stop: Option<&'static str>,
}

impl Progress for Heard {
    fn begin(&mut self, what: &str, _: u64) {
        self.stages.push(what.to_owned());
    }
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self) {}
    fn cancelled(&self) -> bool {
        self.stop.is_some_and(|stop| self.stages.iter().any(|stage| stage == stop))
    }
}

fn quantized(request: &QuantizeRequest, stop: Option<&'static str>) -> (bitsmith::Result<usize>, Vec<String>) {
    let mut heard = Heard { stop, ..Heard::default() };
    let rtn = Rtn::new(RtnConfig::default()).unwrap();
    let done = pollster::block_on(quantize_model(&Device::cpu(), &rtn, request, &mut heard));
    (done.map(|outcome| outcome.resumed), heard.stages)
}

fn request(model: &Path, out: &Path) -> QuantizeRequest {
    QuantizeRequest { format: "gguf".to_owned(), ..QuantizeRequest::new(model, out) }
}

/// A copy of the model, with another tokenizer or none.
fn model(folder: &Path, tokenizer: Option<&str>) {
    fs::create_dir(folder).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(Path::new(MODEL).join(name), folder.join(name)).unwrap();
    }
    if let Some(text) = tokenizer {
        fs::write(folder.join("tokenizer.json"), text).unwrap();
    }
}

#[test]
fn a_tokenizer_without_a_place_is_refused_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("model"), dir.path().join("x.gguf"));
    model(&source, Some(r#"{"model": {"type": "Unigram", "vocab": []}}"#));
    let (done, stages) = quantized(&request(&source, &out), None);
    let error = done.unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && stages.is_empty(), "{error} after {stages:?}");
}

#[test]
fn a_file_without_a_tokenizer_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let (source, packed) = (dir.path().join("model"), dir.path().join("packed"));
    model(&source, None);
    let rtn = Rtn::new(RtnConfig::default()).unwrap();
    let first = QuantizeRequest::new(&source, &packed);
    pollster::block_on(quantize_model(&Device::cpu(), &rtn, &first, &mut Heard::default())).unwrap();
    let second = ExportRequest::new(&packed, dir.path().join("x.gguf"), "gguf");
    let notes = export_model(&second, &mut Heard::default()).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("no tokenizer")), "{notes:?}");
}

#[test]
fn finished_layers_are_gone_on_with_by_the_same_command_only() {
    let dir = tempfile::tempdir().unwrap();
    let (broken, whole) = (request(Path::new(MODEL), &dir.path().join("x.gguf")), dir.path().join("whole.gguf"));
    let (done, _) = quantized(&broken, Some(SECOND));
    assert!(matches!(done, Err(Error::Unfinished { .. })), "{done:?}");
    let resumed = broken.clone().resume();
    let others = QuantizeRequest { skip: vec!["down_proj".to_owned()], ..resumed.clone() };
    let error = quantized(&others, None).0.unwrap_err().to_string();
    assert!(error.contains("resume") && error.contains("down_proj"), "{error}");
    let (done, stages) = quantized(&resumed, None);
    assert!(done.unwrap() > 0 && stages == [SECOND], "{stages:?}");
    quantized(&request(Path::new(MODEL), &whole), None).0.unwrap();
    // All but the name is the same.
    let [broken, whole] = [broken.out, whole].map(|file| fs::read(file).unwrap());
    assert!(broken == whole, "the resumed file is another");
}

#[test]
fn blocks_that_become_floating_point_are_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let request = ExportRequest::new(FOREIGN, dir.path().join("out"), "compressed-tensors");
    let notes = export_model(&request, &mut Heard::default()).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("4 tensor(s) of blocks")), "{notes:?}");
    let strict = ExportRequest { strict: true, out: dir.path().join("strict"), ..request };
    let error = export_model(&strict, &mut Heard::default()).unwrap_err().to_string();
    assert!(error.contains("--strict"), "{error}");
}
