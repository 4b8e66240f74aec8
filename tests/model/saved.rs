//! Quantized models, written and read again.

use std::path::Path;

use bitsmith::export::importer;
use bitsmith::io::{Checkpoint, ModelConfig, SafetensorsWriter, TensorSpec, is_conv1d, read_config};
use bitsmith::model::{Model, Sampling, generate};
use bitsmith::progress::Silent;
use bitsmith::quant::{self, QuantizeRequest, Rtn, RtnConfig, quantize_model};
use bitsmith::{Device, Dtype, Tensor};
use libtest_mimic::{Failed, Trial};

use crate::cache::bits;
use crate::{Outcome, logits, max_difference, root, same, some_ids, tiny_llama, within};

/// Settings of round-to-nearest: all widths, spans, zero points, and a last group shorter than the others.
const SETTINGS: [&str; 7] = [
    r#"{"bits":4,"group_size":32}"#,
    r#"{"bits":4,"group_size":32,"asymmetric":true,"scale_type":"bf16"}"#,
    r#"{"bits":3,"group_size":32,"scale_type":"f32"}"#,
    r#"{"bits":3,"group_size":48,"asymmetric":true}"#,
    r#"{"bits":2,"group_size":16}"#,
    r#"{"bits":8,"group_size":"channel"}"#,
    r#"{"bits":8,"group_size":"tensor","asymmetric":true}"#,
];
/// Models whose layers are stored and named otherwise.
const OTHERS: [&str; 3] = ["opt-350m-like", "opt-bare", "gpt2-tied"];
/// A packed layer against a dense one of the weights it means. Where both sum in one order, as the portable kernels
/// and the CPU's plain loops do, nothing was measured; where they do not, it is the rounding of sums, which is 1.7e-5
/// in these models (see `cache`).
const SUMMATION_ORDER: f32 = 1e-4;
const TOKENS: u32 = 24;

pub fn trials(name: &str, device: &Device) -> Vec<Trial> {
    let mut trials = Vec::new();
    for settings in SETTINGS {
        let device = device.clone();
        trials
            .push(Trial::test(format!("saved/{name}/{settings}"), move || reloaded(&tiny_llama(), settings, &device)));
    }
    for (family, settings) in OTHERS.into_iter().flat_map(|family| SETTINGS.map(|settings| (family, settings))) {
        let device = device.clone();
        trials.push(Trial::test(format!("saved/{name}/{family}/{settings}"), move || {
            reloaded(&root("tests/golden/families").join(family), settings, &device)
        }));
    }
    let trial = |label: &str, test: fn(&Device) -> Outcome| {
        let device = device.clone();
        Trial::test(format!("saved/{name}/{label}"), move || test(&device))
    };
    trials.push(trial("greedy as on the cpu", greedy));
    trials.push(trial("a tied head is named as kept", tied_head));
    trials.push(trial("a Conv1D is written as a linear layer, with a note", conv1d));
    trials
}

/// The example model, quantized into `out`.
pub fn quantize(settings: &str, device: &Device, out: &Path) -> Outcome {
    quantize_folder(&tiny_llama(), settings, device, out).map(|_| ())
}

fn quantize_folder(model: &Path, settings: &str, device: &Device, out: &Path) -> Result<quant::Outcome, Failed> {
    let config: RtnConfig = serde_json::from_str(settings)?;
    let request = QuantizeRequest::new(model, out);
    Ok(pollster::block_on(quantize_model(device, &Rtn::new(config)?, &request, &mut Silent))?)
}

fn all_logits(folder: &Path, device: &Device) -> Result<Vec<f32>, Failed> {
    let model = Model::open(folder, device)?;
    let ids = some_ids(TOKENS, u32::try_from(model.config().vocab_size)?);
    Ok(logits(&model, &ids, &mut model.cache(1, ids.len())?)?)
}

/// Two loads agree bit for bit, with the CPU's file too, and mean the weights that the file's codes mean.
fn reloaded(model: &Path, settings: &str, device: &Device) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (packed, by_cpu, dense) =
        (folder.path().join("packed"), folder.path().join("by_cpu"), folder.path().join("dense"));
    quantize_folder(model, settings, device, &packed)?;
    let first = all_logits(&packed, device)?;
    same("bits of a second load", &bits(&all_logits(&packed, device)?), &bits(&first))?;
    quantize_folder(model, settings, &Device::cpu(), &by_cpu)?;
    let weights = |folder: &Path| std::fs::read(folder.join("model.safetensors"));
    same("the file is that of the CPU", &(weights(&packed)? == weights(&by_cpu)?), &true)?;
    dequantize(&packed, &dense)?;
    within("largest difference to dense", max_difference(&all_logits(&dense, device)?, &first), SUMMATION_ORDER)
}

/// Writes the model of a folder with its quantized layers as f32 matrices.
pub fn dequantize(from: &Path, to: &Path) -> Outcome {
    let checkpoint = Checkpoint::open(from)?;
    let mut config = read_config(from)?;
    let quantization =
        config.as_object_mut().and_then(|c| c.remove("quantization_config")).ok_or("quantization_config")?;
    let importer = importer(&quantization, from)?;
    let layers = importer.layers(&checkpoint)?;
    let mut tensors = Vec::new();
    for name in checkpoint.names() {
        if !layers.iter().any(|l| name.strip_prefix(l.path.as_str()).is_some_and(|rest| rest.starts_with(".weight"))) {
            let tensor = checkpoint.tensor(name)?;
            tensors.push((TensorSpec::new(name, tensor.dtype(), tensor.shape()), tensor.bytes().to_vec()));
        }
    }
    for layer in &layers {
        let values = importer.decode(&layer.path, &checkpoint)?.unpack()?.dequantize();
        let mut weight = Tensor::from_f32(vec![layer.rows, layer.cols], &values)?;
        if is_conv1d(&config, &layer.path) {
            weight = weight.transposed();
        }
        let spec = TensorSpec::new(format!("{}.weight", layer.path), Dtype::F32, weight.shape());
        tensors.push((spec, weight.bytes().to_vec()));
    }
    std::fs::create_dir(to)?;
    std::fs::write(to.join("config.json"), config.to_string())?;
    let specs: Vec<_> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = SafetensorsWriter::create(&to.join("model.safetensors"), &specs)?;
    for (spec, bytes) in &tensors {
        writer.write(&spec.name, bytes)?;
    }
    Ok(writer.finish()?)
}

/// 50 tokens, each the most likely one, are the same on every device.
fn greedy(device: &Device) -> Outcome {
    const NEW: usize = 50;
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("packed");
    quantize(SETTINGS[0], &Device::cpu(), &out)?;
    let tokens = |device: &Device| -> Result<Vec<u32>, Failed> {
        let model = Model::open(&out, device)?;
        let prompt = [&[1], &some_ids(5, 512)[..]].concat();
        let done = pollster::block_on(generate(&model, &prompt, NEW, Sampling::default(), |_| true))?;
        same("computed", &done.computed, &(prompt.len() as u64 + done.tokens.len() as u64 - 1))?;
        Ok(done.tokens)
    };
    let found = tokens(device)?;
    same("tokens", &found.len(), &NEW)?;
    same("tokens of the CPU", &found, &tokens(&Device::cpu())?)
}

/// Readers that quantize by module type would look for the codes of a head that has no tensor.
fn tied_head(device: &Device) -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("packed");
    quantize(SETTINGS[0], device, &out)?;
    let (config, value) = ModelConfig::read(&out)?;
    same("tied", &config.tie_word_embeddings, &true)?;
    let ignored = value["quantization_config"]["ignore"].as_array().ok_or("ignore")?;
    same("in `ignore`", &ignored.iter().any(|path| path == "lm_head"), &true)
}

/// Embeddings and positions stay; the fused projection has three times as many output as input features.
fn conv1d(device: &Device) -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("packed");
    let done = quantize_folder(&root("tests/golden/families/gpt2-tied"), SETTINGS[0], device, &out)?;
    let layers: Vec<_> = done.record.layers.iter().map(|l| (l.path.as_str(), l.shape)).collect();
    same("layers", &layers.len(), &8)?;
    same("fused", &layers.contains(&("h.1.attn.c_attn", [96, 32])), &true)?;
    same("contracting", &layers.contains(&("h.0.mlp.c_proj", [32, 128])), &true)?;
    let checkpoint = Checkpoint::open(&out)?;
    same("codes", &checkpoint.raw("h.1.attn.c_attn.weight_packed")?.shape.to_vec(), &vec![96, 4])?;
    let kept = |name: &str| done.record.kept.iter().any(|k| k == name);
    same("kept", &(kept("wte.weight") && kept("wpe.weight")), &true)?;
    same("noted", &done.notes.iter().any(|n| n.contains("8 layer(s)") && n.contains("Conv1D")), &true)
}
