//! The shared models as GGUF files: their texts have the same tokens, and they predict as in the default format. Needs the folder
//! `$BITSMITH_SHARED`, else `../shared`; without it every case is listed as ignored.
//! `Cargo.toml` must register this file with `harness = false`.

use std::path::{Path, PathBuf};

use bitsmith::eval::{EvalRequest, evaluate_folders};
use bitsmith::io::{SafetensorsWriter, TensorSpec, TextSource, Tokenizer, read_config};
use bitsmith::quant::{QuantizeRequest, Rtn, RtnConfig, quantize_model};
use bitsmith::{Device, Dtype, progress::Silent};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;

/// Weights of layers whose rows are no multiples of 32 are in f16 there.
const ROUNDED: f64 = 1e-3;
/// Bytes of a text that are compared.
const BYTES: usize = 200_000;

fn shared() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("BITSMITH_SHARED").map_or_else(default, PathBuf::from)
}

fn quantized(model: &Path, out: &Path, format: &str) -> Result<(), Failed> {
    let rtn = Rtn::new(RtnConfig { group_size: "32".parse()?, ..Default::default() })?;
    let request = QuantizeRequest { format: format.to_owned(), ..QuantizeRequest::new(model, out) };
    pollster::block_on(quantize_model(&Device::cpu(), &rtn, &request, &mut Silent))?;
    Ok(())
}

fn predictions(model: &str) -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let model = shared().join("models").join(model);
    let (plain, file) = (scratch.path().join("plain"), scratch.path().join("model.gguf"));
    quantized(&model, &plain, "compressed-tensors")?;
    quantized(&model, &file, "gguf")?;
    let request = EvalRequest {
        text: TextSource { files: vec![shared().join("text/tinystories/val.txt")], ..Default::default() },
        documents: Some("<|endoftext|>".into()),
        max_documents: Some(20),
        ..Default::default()
    };
    let mut found = Vec::new();
    for folder in [&plain, &file] {
        found.push(pollster::block_on(evaluate_folders(&Device::cpu(), folder, None, &request, &mut Silent))?);
    }
    let [plain, file] = &found[..] else { return Err("two evaluations".into()) };
    if plain.tokens_scored != file.tokens_scored || (plain.perplexity / file.perplexity - 1.0).abs() > ROUNDED {
        return Err(format!("{} and {} perplexity", plain.perplexity, file.perplexity).into());
    }
    Ok(())
}

/// A Llama of one small layer with a tokenizer of its own.
fn tokens(tokenizer: &str) -> Result<(), Failed> {
    const HIDDEN: usize = 32;
    let scratch = tempfile::tempdir()?;
    let (model, file) = (scratch.path().join("model"), scratch.path().join("model.gguf"));
    std::fs::create_dir(&model)?;
    let source = shared().join("tokenizers").join(tokenizer);
    for entry in std::fs::read_dir(&source)? {
        let path = entry?.path();
        std::fs::copy(&path, model.join(path.file_name().ok_or("a name")?))?;
    }
    let vocabulary: serde_json::Value = serde_json::from_slice(&std::fs::read(source.join("tokenizer.json"))?)?;
    let rows = vocabulary["model"]["vocab"].as_object().ok_or("a vocabulary")?.len();
    let config = json!({
        "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": HIDDEN, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": rows, "max_position_embeddings": 64, "tie_word_embeddings": true,
    });
    std::fs::write(model.join("config.json"), config.to_string())?;
    let layers = ["self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"];
    let mut specs = vec![
        TensorSpec::new("model.embed_tokens.weight", Dtype::F16, [rows, HIDDEN]),
        TensorSpec::new("model.norm.weight", Dtype::F16, [HIDDEN]),
    ];
    let matrix =
        |name: &str| TensorSpec::new(format!("model.layers.0.{name}_proj.weight"), Dtype::F16, [HIDDEN, HIDDEN]);
    specs.extend(layers.map(matrix));
    let norm = |name: &str| TensorSpec::new(format!("model.layers.0.{name}_layernorm.weight"), Dtype::F16, [HIDDEN]);
    specs.extend(["input", "post_attention"].map(norm));
    let mut writer = SafetensorsWriter::create(&model.join("model.safetensors"), &specs)?;
    for spec in &specs {
        let count = spec.shape.iter().product();
        writer.write(&spec.name, &Dtype::F16.encode(&vec![0.5; count]))?;
    }
    writer.finish()?;
    quantized(&model, &file, "gguf")?;

    let text = std::fs::read_to_string(shared().join("text/wikitext-2/test.txt"))?;
    let end = (0..BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let rows = usize::try_from(read_config(&file)?["vocab_size"].as_u64().ok_or("vocab_size")?)?;
    let [original, stored] = [Tokenizer::read(&model, rows)?, Tokenizer::read(&file, rows)?];
    for text in [&text[..end], " Hello  w\u{f6}rld\n\t\u{1f600} don't 12345 </s>", ""] {
        let (a, b) = (original.encode(text, true)?, stored.encode(text, true)?);
        if let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) {
            return Err(format!("token {at} is {}, not {}, in {:?}", b[at], a[at], &text[..40.min(text.len())]).into());
        }
        if a.len() != b.len() || original.decode(&a)? != stored.decode(&a)? {
            return Err(format!("{} and {} tokens", a.len(), b.len()).into());
        }
    }
    Ok(())
}

fn main() {
    let arguments = Arguments::from_args();
    let present = shared().join("SOURCES.md").exists();
    let mut trials = Vec::new();
    for model in ["stories260K", "babyllama-char-0.9M"] {
        trials.push(Trial::test(format!("predictions::{model}"), move || predictions(model)));
    }
    for tokenizer in ["llama2-32k", "gpt2"] {
        trials.push(Trial::test(format!("tokens::{tokenizer}"), move || tokens(tokenizer)));
    }
    let trials =
        trials.into_iter().map(|t| t.with_ignored_flag(!present).with_kind(if present { "" } else { "needs shared/" }));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
