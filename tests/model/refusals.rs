//! Folders whose parts do not fit together: the error names file and tensor.

use std::path::{Path, PathBuf};

use bitsmith::Device;
use bitsmith::eval::{EvalRequest, evaluate_folders};
use bitsmith::model::{Model, Sampling, generate};
use bitsmith::progress::Silent;
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::{Outcome, root, saved, tiny_llama};

/// Family, changes to its config.json, and what the error says.
fn disagreements() -> Vec<(&'static str, Value, &'static [&'static str])> {
    vec![
        (
            "smollm",
            json!({"hidden_size": 48}),
            &["model.safetensors", "model.embed_tokens.weight", "[64, 36]", "[64, 48]"],
        ),
        ("smollm", json!({"vocab_size": 65}), &["model.safetensors", "model.embed_tokens.weight", "[65, 36]"]),
        ("smollm", json!({"intermediate_size": 41}), &["model.layers.0.mlp.gate_proj.weight", "[40, 36]", "[41, 36]"]),
        (
            "smollm",
            json!({"num_key_value_heads": 3}),
            &["model.layers.0.self_attn.k_proj.weight", "[12, 36]", "[18, 36]"],
        ),
        ("smollm", json!({"head_dim": 8}), &["model.layers.0.self_attn.q_proj.weight", "[36, 36]", "[48, 36]"]),
        ("smollm", json!({"num_hidden_layers": 3}), &["model.safetensors", "`model.layers.2."]),
        ("smollm", json!({"tie_word_embeddings": false}), &["model.safetensors", "`lm_head.weight`"]),
        ("smollm", json!({"attention_bias": true}), &["model.safetensors", "`model.layers.0.self_attn.q_proj.bias`"]),
        ("smollm", json!({"model_type": "qwen3"}), &["model.safetensors", "`model.layers.0.self_attn.q_norm.weight`"]),
        (
            "llama-biases",
            json!({"mlp_bias": false}),
            &["model.safetensors", "model.layers.0.mlp.gate_proj.bias", "no bias"],
        ),
        (
            "opt-350m-like",
            json!({"word_embed_proj_dim": 24}),
            &["model.decoder.embed_tokens.weight", "[64, 20]", "[64, 24]"],
        ),
        ("opt-350m-like", json!({"max_position_embeddings": 50}), &["embed_positions.weight", "[50, 32]", "[52, 32]"]),
        ("opt-350m-like", json!({"do_layer_norm_before": true}), &["`model.decoder.final_layer_norm.weight`"]),
        ("opt-350m-like", json!({"enable_bias": false}), &["model.decoder.layers.0.self_attn.q_proj.bias", "no bias"]),
        ("gpt2-tied", json!({"n_inner": 100}), &["h.0.mlp.c_fc.weight", "[32, 128]", "[32, 100]"]),
        ("gpt2-tied", json!({"tie_word_embeddings": false}), &["model.safetensors", "`lm_head.weight`"]),
        ("gpt2-tied", json!({"n_layer": 3}), &["model.safetensors", "`h.2."]),
        ("qwen3-norms", json!({"intermediate_size": 41}), &["of-00004.safetensors", "mlp.gate_proj.weight"]),
    ]
}

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (family, changes, parts) in disagreements() {
        trials.push(Trial::test(format!("refused/{family}/{changes}"), move || {
            let folder = copy(&root("tests/golden/families").join(family))?;
            edit(folder.path(), &changes)?;
            refused(Model::open(folder.path(), &Device::cpu()), parts)
        }));
    }
    trials.push(Trial::test("refused/integers for weights", integers));
    trials.push(Trial::test("refused/a shard is missing", shard));
    trials.push(Trial::test("refused/a file is cut off", cut));
    trials.push(Trial::test("refused/a quantized layer of another shape", quantized));
    trials.push(Trial::test("refused/a quantized layer of other bits", quantized_otherwise));
    trials.push(Trial::test("refused/a weight that is no number", not_a_number));
    trials.push(Trial::test("refused/an embedding smaller than the tokenizer", tokenizer));
    trials
}

fn copy(from: &Path) -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for entry in std::fs::read_dir(from)? {
        let path: PathBuf = entry?.path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap_or_default()))?;
    }
    Ok(folder)
}

fn edit(folder: &Path, changes: &Value) -> Outcome {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
    for (key, value) in changes.as_object().ok_or("changes")? {
        config[key] = value.clone();
    }
    Ok(std::fs::write(path, config.to_string())?)
}

fn refused<T: std::fmt::Debug>(result: bitsmith::Result<T>, parts: &[&str]) -> Outcome {
    let Err(error) = result else { return Err("it was taken".into()) };
    let message = error.to_string();
    match parts.iter().find(|part| !message.contains(**part)) {
        Some(part) => Err(Failed::from(format!("`{part}` is not in: {message}"))),
        None => Ok(()),
    }
}

fn integers() -> Outcome {
    let folder = copy(&root("tests/golden/families/llama-biases"))?;
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path)?;
    // In the header, and of the same length.
    let name = br#""model.layers.1.mlp.up_proj.weight":{"dtype":"F32""#;
    let at = bytes.windows(name.len()).position(|w| w == name).ok_or("the tensor is in the header")?;
    bytes[at + name.len() - 4..at + name.len() - 1].copy_from_slice(b"I32");
    std::fs::write(&path, bytes)?;
    let parts = ["model.safetensors", "`model.layers.1.mlp.up_proj.weight`", "I32"];
    refused(Model::open(folder.path(), &Device::cpu()), &parts)
}

fn shard() -> Outcome {
    let folder = copy(&root("tests/golden/families/qwen3-norms"))?;
    std::fs::remove_file(folder.path().join("model-00002-of-00004.safetensors"))?;
    let parts = ["model.safetensors.index.json", "model-00002-of-00004.safetensors", "missing"];
    refused(Model::open(folder.path(), &Device::cpu()), &parts)
}

fn cut() -> Outcome {
    let folder = copy(&root("tests/golden/families/smollm"))?;
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path)?;
    std::fs::write(&path, &bytes[..bytes.len() - 1])?;
    refused(Model::open(folder.path(), &Device::cpu()), &["model.safetensors"])
}

fn quantized() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("packed");
    saved::quantize(r#"{"bits":4,"group_size":32}"#, &Device::cpu(), &out)?;
    edit(&out, &json!({"intermediate_size": 416}))?;
    let parts = ["packed/model.safetensors", "model.layers.0.mlp.gate_proj", "[384, 128]", "[416, 128]"];
    refused(Model::open(&out, &Device::cpu()), &parts)
}

/// The bits that the config speaks of are not those of the codes.
fn quantized_otherwise() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("packed");
    saved::quantize(r#"{"bits":4,"group_size":32}"#, &Device::cpu(), &out)?;
    let path = out.join("config.json");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(path, text.replace("\"num_bits\": 4", "\"num_bits\": 8"))?;
    let parts = ["packed/model.safetensors", "model.layers.0.", "weight_packed should be I32", "for 8 bits"];
    refused(Model::open(&out, &Device::cpu()), &parts)
}

/// A weight that is no number, in a layer that is kept: the evaluation and the generation that meet it name it.
fn not_a_number() -> Outcome {
    let folder = copy(&tiny_llama())?;
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path)?;
    let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into()?))?;
    let json: Value = serde_json::from_slice(&bytes[8..header])?;
    let start = json["model.layers.2.input_layernorm.weight"]["data_offsets"][0].as_u64().ok_or("offsets")?;
    let third = header + usize::try_from(start)? + 2 * 2;
    bytes[third..third + 2].copy_from_slice(&0x7fc0u16.to_le_bytes());
    std::fs::write(&path, bytes)?;
    let parts = ["model.layers.2.input_layernorm.weight", "[2, 0]", "NaN"];
    let text = tiny_llama().join("validation.txt");
    let request = EvalRequest { text: text.into(), window: Some(16), max_tokens: Some(64), ..Default::default() };
    let device = Device::cpu();
    let found = pollster::block_on(evaluate_folders(&device, folder.path(), None, &request, &mut Silent));
    refused(found, &parts)?;
    let model = Model::open(folder.path(), &device)?;
    refused(pollster::block_on(generate(&model, &[1, 50], 4, Sampling::default(), |_| true)), &parts)
}

/// The tokenizer of the example model has 512 tokens, the model beside it 64.
fn tokenizer() -> Outcome {
    let folder = copy(&root("tests/golden/families/smollm"))?;
    std::fs::copy(tiny_llama().join("tokenizer.json"), folder.path().join("tokenizer.json"))?;
    let request = EvalRequest { text: tiny_llama().join("validation.txt").into(), ..Default::default() };
    let result = pollster::block_on(evaluate_folders(&Device::cpu(), folder.path(), None, &request, &mut Silent));
    refused(result, &["tokenizer.json", "token id 511", "64 rows"])
}
