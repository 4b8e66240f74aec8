//! Models that are cut off or do not fit together.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{MODEL, folder, listing, typed};

/// A copy of the example model to damage.
fn model_in(folder: &Path) -> PathBuf {
    let copy = folder.join("model");
    fs::create_dir(&copy).expect("a new folder");
    for name in
        ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(MODEL).join(name);
        fs::copy(from, copy.join(name)).expect("the example model is there");
    }
    copy
}

/// Damages the model with `damage`, then expects commands that read that part to fail with these words, leaving nothing.
fn damaged(commands: &[&str], words: &[&str], damage: impl FnOnce(&Path)) {
    let folder = folder();
    damage(&model_in(folder.path()));
    for command in commands {
        typed(&format!("{command} --device cpu"), folder.path()).failed(1, words);
        assert_eq!(listing(folder.path()), ["model"], "{command}");
    }
}

const QUANTIZE: &str = "quantize {}/model --out {}/out";
const QUANTIZE_AND_MEASURE: &str =
    "quantize {}/model --out {}/out --text examples/tiny-llama/validation.txt --max-tokens 64 --window 32";
const EVAL: &str = "eval {}/model --text examples/tiny-llama/validation.txt --max-tokens 64 --window 32";
const GENERATE: &str = "generate {}/model --prompt Once --max-tokens 4";

#[test]
fn truncated_weights_fail_cleanly() {
    for keep in [0, 4, 8, 100, 4000, 1_000_000, 1_710_287] {
        damaged(&[QUANTIZE, EVAL, GENERATE], &["model.safetensors"], |model| {
            let path = model.join("model.safetensors");
            let bytes = fs::read(&path).expect("weights");
            fs::write(&path, &bytes[..keep]).expect("writable");
        });
    }
}

#[test]
fn missing_shards_fail_cleanly() {
    damaged(&[QUANTIZE, EVAL, GENERATE], &["index.json", "absent.safetensors"], |model| {
        fs::remove_file(model.join("model.safetensors")).expect("removable");
        let index = r#"{"metadata":{},"weight_map":{"model.norm.weight":"absent.safetensors"}}"#;
        fs::write(model.join("model.safetensors.index.json"), index).expect("writable");
    });
}

/// Sets a field of a JSON file.
fn set(file: &Path, field: &str, value: Value) {
    let mut json: Value = serde_json::from_slice(&fs::read(file).expect("readable")).expect("JSON");
    json[field] = value;
    fs::write(file, json.to_string()).expect("writable");
}

#[test]
fn a_bad_config_fails_cleanly() {
    let commands = [QUANTIZE_AND_MEASURE, EVAL, GENERATE];
    for (field, value) in [
        ("hidden_size", 0.into()),
        ("hidden_size", "many".into()),
        ("num_hidden_layers", (-1).into()),
        ("num_key_value_heads", 3.into()),
        ("rms_norm_eps", 0.into()),
        ("hidden_act", "magic".into()),
        ("vocab_size", Value::Null),
        ("max_position_embeddings", 1e30.into()),
    ] {
        damaged(&commands, &["config.json", field], |model| set(&model.join("config.json"), field, value));
    }
    // Values that are possible, but not for these weights.
    for (field, value) in [("intermediate_size", 385), ("vocab_size", 513), ("num_hidden_layers", 5), ("head_dim", 64)]
    {
        damaged(&commands, &["model"], |model| set(&model.join("config.json"), field, value.into()));
    }
    damaged(&commands, &["gpt5"], |model| set(&model.join("config.json"), "model_type", "gpt5".into()));
    for text in ["", "[]", "{\"hidden_size\": 1", "\u{0}"] {
        damaged(&[QUANTIZE, EVAL, GENERATE], &["config.json"], |model| {
            fs::write(model.join("config.json"), text).expect("writable");
        });
    }
    damaged(&[QUANTIZE_AND_MEASURE, EVAL, GENERATE], &["config.json"], |model| {
        fs::remove_file(model.join("config.json")).expect("removable");
    });
}

#[test]
fn a_model_that_cannot_be_run_is_quantized_with_a_warning() {
    let folder = folder();
    set(&model_in(folder.path()).join("config.json"), "model_type", "bert".into());
    let run = typed(&format!("{QUANTIZE} --quiet --device cpu --report {{}}/r.html"), folder.path()).ok();
    let [warning] = run.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{run:?}") };
    assert!(
        warning.starts_with("warning: ") && warning.contains("cannot be evaluated: model_type `bert`"),
        "{warning}"
    );
    let page = fs::read_to_string(folder.path().join("r.html")).expect("the report is there");
    assert!(page.contains("cannot be evaluated: model_type `bert`") && page.contains("not measured"));
    let json = typed(&format!("{QUANTIZE} --force --json --device cpu"), folder.path()).json();
    assert_eq!(json["notes"][0], warning);
    assert_eq!(json["layers"].as_array().map(Vec::len), Some(28));
    let json = typed("inspect {}/out --json", folder.path()).json();
    assert_eq!(json["format"], "compressed-tensors");

    let line = QUANTIZE_AND_MEASURE.replace("/out", "/other");
    let run =
        typed(&format!("{line} --device cpu"), folder.path()).failed(1, &["evaluating", "`bert`", "not supported"]);
    assert!(run.stderr.contains("hint: leave the text out"), "{run:?}");
    assert_eq!(listing(folder.path()), ["model", "out", "r.html"]);
}

#[test]
fn a_tokenizer_of_another_model_fails_cleanly() {
    damaged(&[QUANTIZE_AND_MEASURE, EVAL, GENERATE], &["tokenizer.json", "embedding"], |model| {
        let path = model.join("tokenizer.json");
        let mut json: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        let mut added = json["added_tokens"][0].clone();
        (added["id"], added["content"]) = (600.into(), "<extra>".into());
        json["added_tokens"].as_array_mut().expect("a list").push(added);
        json["model"]["vocab"]["<extra>"] = 600.into();
        fs::write(&path, json.to_string()).expect("writable");
    });
    for text in ["", "{}", "{\"model\": 3}"] {
        damaged(&[QUANTIZE_AND_MEASURE, EVAL, GENERATE], &["tokenizer.json"], |model| {
            fs::write(model.join("tokenizer.json"), text).expect("writable");
        });
    }
}

#[test]
fn a_weight_that_is_no_number_fails_with_its_place() {
    damaged(&[QUANTIZE], &["model.layers.", "NaN"], |model| {
        let path = model.join("model.safetensors");
        let mut bytes = fs::read(&path).expect("weights");
        // bf16 NaNs over the middle of the file, which the projections fill.
        let middle = bytes.len() / 2 / 2 * 2;
        bytes[middle..middle + 4000].fill(0xff);
        fs::write(&path, &bytes).expect("writable");
    });
}
