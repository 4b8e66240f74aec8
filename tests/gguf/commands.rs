//! Our files through the program.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const MODEL: &str = "examples/tiny-llama";
const TEXT: &str = "examples/tiny-llama/validation.txt";
/// Perplexities of the same weights, summed in another order.
const SAME: f64 = 1e-6;
/// Weights in f16 instead of codes: the last digits.
const ROUNDED: f64 = 1e-3;

fn run(line: &str, folder: &Path) -> (bool, String, String) {
    let words = line.split_whitespace().map(|word| word.replace("{}", folder.to_str().unwrap()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitsmith"));
    command.args(words).current_dir(env!("CARGO_MANIFEST_DIR")).env("XDG_RUNTIME_DIR", std::env::temp_dir());
    let done = command.env_remove("RUST_LOG").stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.success(), text(done.stdout), text(done.stderr))
}

#[track_caller]
fn ok(line: &str, folder: &Path) -> String {
    let (success, out, err) = run(line, folder);
    assert!(success, "{line}: {err}");
    out + &err
}

#[track_caller]
fn refused(line: &str, folder: &Path, part: &str) {
    let (success, out, err) = run(line, folder);
    assert!(!success && out.is_empty() && err.contains(part), "{line}: {err}");
}

/// The perplexity of a model in the folder on some of the text.
#[track_caller]
fn perplexity(model: &str, folder: &Path) -> f64 {
    let line =
        format!("eval {model} --text {TEXT} --documents <|endoftext|> --max-documents 3 --device cpu --json --quiet");
    let (success, out, err) = run(&line, folder);
    assert!(success, "{line}: {err}");
    serde_json::from_str::<Value>(&out).unwrap()["perplexity"].as_f64().unwrap()
}

fn near(a: f64, b: f64, within: f64) {
    assert!((a / b - 1.0).abs() <= within, "{a} is not {b}");
}

#[test]
fn a_file_and_a_folder_are_the_model_that_the_default_format_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let settings = "--bits 4 --group-size 32 --device cpu";
    ok(&format!("quantize {MODEL} --out {{}}/ct {settings}"), at);
    let told = ok(&format!("quantize {MODEL} --out {{}}/x.gguf --format gguf --strict {settings}"), at);
    assert!(told.contains("28 as Q4_0"), "{told}");
    ok(&format!("quantize {MODEL} --out {{}}/folder --format gguf {settings}"), at);
    let [file, whole] = ["x.gguf", "folder/model.gguf"].map(|name| fs::read(at.join(name)).unwrap());
    assert!(file == whole, "a folder's file is another");
    let listing = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(listing(at), ["ct", "folder", "x.gguf"], "nothing else is left");
    assert_eq!(listing(&at.join("folder")), ["bitsmith.json", "model.gguf"]);

    let expected = perplexity("{}/ct", at);
    near(perplexity("{}/x.gguf", at), expected, SAME);
    near(perplexity("{}/folder", at), expected, SAME);
    // Through the other formats and back, from what was imported.
    ok("export {}/x.gguf --format compressed-tensors --out {}/again", at);
    near(perplexity("{}/again", at), expected, SAME);
    ok("export {}/again --format gguf --out {}/back.gguf", at);
    near(perplexity("{}/back.gguf", at), expected, SAME);
    let prompt = "--prompt Once --max-tokens 8 --device cpu";
    let generate = |model: &str| run(&format!("generate {{}}/{model} {prompt}"), at).1;
    assert_eq!(generate("x.gguf"), generate("ct"));

    refused("export {}/ct --format gguf --out {}/x.gguf", at, "--force");
    ok("export {}/ct --format gguf --out {}/x.gguf --force", at);
    fs::write(at.join("note.gguf"), "mine").unwrap();
    refused("export {}/ct --format gguf --out {}/note.gguf --force", at, "is no GGUF file");
    refused(&format!("quantize {{}}/x.gguf --out {{}}/y {settings}"), at, "give the original");
    ok("export {}/ct --format gguf --out {}/folder --force", at);
    let listed = ok("inspect {}/x.gguf", at);
    assert!(listed.contains("w4g32s") && listed.contains("(gguf)"), "{listed}");
}

#[test]
fn what_is_requantised_is_told_and_refused_when_strict() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    // 128 and 384 input features: no blocks of 256.
    for (settings, told, within) in [
        ("--bits 4 --group-size 64 --asymmetric", "28 as Q4_1", SAME),
        ("--bits 3 --group-size 32", "28 as Q4_0", SAME),
        ("--bits 8 --group-size 128", "28 as Q8_0", SAME),
        ("--bits 4 --group-size 16", "28 as F16", ROUNDED),
    ] {
        let settings = format!("{settings} --device cpu");
        ok(&format!("quantize {MODEL} --out {{}}/ct --force {settings}"), at);
        let notes = ok("export {}/ct --format gguf --out {}/x.gguf --force", at);
        assert!(notes.contains(told), "{settings}: {notes}");
        // Rounded zero points are read back as they were.
        near(perplexity("{}/x.gguf", at), perplexity("{}/ct", at), within);
    }
    refused("export {}/ct --format gguf --out {}/y.gguf --strict", at, "groups are no multiples of 32");
    let eval = format!("--text {TEXT} --documents <|endoftext|> --max-documents 2");
    let settings = "--bits 4 --group-size 16 --device cpu";
    refused(&format!("quantize {MODEL} --format gguf --out {{}}/y.gguf --strict {settings}"), at, "F16");
    let (success, out, err) = run(&format!("quantize {MODEL} --format gguf --out {{}}/y --json {settings} {eval}"), at);
    assert!(success, "{err}");
    let record: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(record["sizes"]["bits_per_weight"], 16.0);
    let after = record["quality"]["perplexity_after"].as_f64().unwrap();
    assert!(after > 1.0 && record["evaluation"]["perplexity"].as_f64() == Some(after));
    assert!(at.join("y/bitsmith.json").exists());
}

#[test]
fn a_model_of_another_family_goes_the_same_way() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    // What readers of these architectures leave out is taken from the configurations.
    for (family, own) in [
        ("gpt2-tied", json!({"scale_attn_by_inverse_layer_idx": false})),
        ("qwen3-norms", json!({"use_sliding_window": false, "layer_types": null})),
        ("qwen2-biases", json!({})),
        ("llama-biases", json!({})),
    ] {
        let model = at.join(format!("{family}-original"));
        fs::create_dir(&model).unwrap();
        for entry in fs::read_dir(format!("tests/golden/families/{family}")).unwrap().map(|e| e.unwrap().path()) {
            fs::copy(&entry, model.join(entry.file_name().unwrap())).unwrap();
        }
        let mut config: Value = serde_json::from_slice(&fs::read(model.join("config.json")).unwrap()).unwrap();
        config.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        fs::write(model.join("config.json"), config.to_string()).unwrap();
        let settings = "--bits 8 --device cpu";
        ok(&format!("quantize {{}}/{family}-original --out {{}}/{family}.gguf --format gguf {settings}"), at);
        ok(&format!("quantize {{}}/{family}-original --out {{}}/{family} {settings}"), at);
        let logits = |path: &Path| {
            use bitsmith::{Device, Recorder, model::Model};
            let model = Model::open(path, &Device::cpu()).unwrap();
            let mut cache = model.cache(1, 8).unwrap();
            let mut rec = Recorder::new(model.device());
            let hidden = model.hidden(&mut rec, &[1, 5, 9, 20, 3], &mut cache).unwrap();
            let logits = model.logits(&mut rec, &hidden).unwrap();
            rec.submit().unwrap();
            pollster::block_on(logits.read(model.device())).unwrap()
        };
        let (found, expected) = (logits(&at.join(format!("{family}.gguf"))), logits(&at.join(family)));
        let largest = expected.iter().fold(0f32, |most, v| most.max(v.abs()));
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        // Where rows are no multiples of 32, weights are in f16.
        assert!(off <= 2e-3 * largest, "{family}: {off} of {largest}");
    }
    refused(
        "quantize tests/golden/families/opt-bare --out {}/o.gguf --format gguf --device cpu",
        at,
        "no architecture",
    );
}
