//! Ternary models of Hugging Face's bitnet type: packed, in floating point, and written again, on every device.

use std::path::{Path, PathBuf};

use bitsmith::export::importer;
use bitsmith::io::{Checkpoint, read_config};
use bitsmith::model::{Model, Sampling, StreamedModel, generate};
use bitsmith::op::{self, ActivationPrecision, Activations, GroupWeight};
use bitsmith::progress::Silent;
use bitsmith::quant::{ExportRequest, export_model};
use bitsmith::{Device, PackedTensor, Recorder};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::cache::bits;
use crate::saved::dequantize;
use crate::{Outcome, logits, max_difference, root, same, shared, some_ids, within};

/// As in `logits`: seven times what the rounding of f32 sums does.
const ROUNDING: f32 = 1e-4;
/// Activations rounded to int8 by two programs: both take `absmax / 127` for a step, but one multiplies with its reciprocal,
/// so that a value next to a middle may take the other code, and the inputs of later layers differ by rounding. One step
/// more or less moves a logit by up to some hundredths; int8 itself moves them by 0.18. Measured here, where no value takes
/// another code: 1.5e-6.
const INT8: f32 = 0.05;
/// Bits a weight, scales counted.
const MOST_BITS: f64 = 2.01;
const MODELS: [&str; 2] = ["bitllama2-1M", "bitllama2-3M"];

fn packed() -> PathBuf {
    root("tests/golden/families/bitnet-packed")
}

pub fn trials(name: &str, device: &Device) -> Vec<Trial> {
    let trial = |label: &str, test: fn(&Device) -> Outcome| {
        let device = device.clone();
        Trial::test(format!("bitnet/{name}/{label}"), move || test(&device))
    };
    let mut trials = vec![
        trial("logits of transformers", golden),
        trial("packed, in floating point and exported are one model", forms),
        trial("products are equal integers", integers),
    ];
    for model in MODELS {
        let here = shared().join("models").is_dir();
        let device = device.clone();
        let trial = Trial::test(format!("bitnet/{name}/{model}"), move || shared_model(model, &device));
        trials.push(trial.with_ignored_flag(!here).with_kind(if here { "" } else { "needs shared/" }));
    }
    trials
}

fn all_logits(folder: &Path, device: &Device, activations: ActivationPrecision) -> Result<Vec<f32>, Failed> {
    let model = Model::open_with(folder, device, activations)?;
    let ids = some_ids(24, u32::try_from(model.config().vocab_size)?);
    Ok(logits(&model, &ids, &mut model.cache(1, ids.len())?)?)
}

/// Those of `BitLinear`, stored by `golden/make_bitnet.py`.
fn golden(device: &Device) -> Outcome {
    let golden: Value = serde_json::from_slice(&std::fs::read(packed().join("logits.json"))?)?;
    let numbers = |key: &str| golden[key].as_array().into_iter().flatten().filter_map(Value::as_u64);
    let ids: Vec<u32> = numbers("ids").map(u32::try_from).collect::<Result<_, _>>()?;
    for (key, activations, limit) in
        [("logits", ActivationPrecision::Exact, ROUNDING), ("int8", ActivationPrecision::Auto, INT8)]
    {
        let model = Model::open_with(&packed(), device, activations)?;
        let found = logits(&model, &ids, &mut model.cache(1, ids.len())?)?;
        let vocab = model.config().vocab_size;
        let mut worst = 0f32;
        for (position, row) in numbers("positions").zip(golden[key].as_array().ok_or("logits")?) {
            #[allow(clippy::cast_possible_truncation, reason = "they were f32 when they were written")]
            let expected: Vec<f32> =
                row.as_array().into_iter().flatten().filter_map(Value::as_f64).map(|x| x as f32).collect();
            let start = usize::try_from(position)? * vocab;
            worst = worst.max(max_difference(&found[start..start + vocab], &expected));
        }
        same("rows", &golden[key].as_array().map(Vec::len), &Some(6))?;
        within(key, worst, limit)?;
    }
    Ok(())
}

fn forms(device: &Device) -> Outcome {
    let folder = tempfile::tempdir()?;
    let [dense, again, anew] = ["dense", "again", "anew"].map(|name| folder.path().join(name));
    dequantize(&packed(), &dense)?;
    for (from, to) in [(packed(), &again), (dense.clone(), &anew)] {
        let done = export_model(&ExportRequest::new(from, to, "bitnet"), &mut Silent)?;
        same("layers", &done.layers, &14)?;
    }
    let expected = bits(&all_logits(&packed(), device, ActivationPrecision::Auto)?);
    for other in [&dense, &again, &anew] {
        let found = bits(&all_logits(other, device, ActivationPrecision::Int8)?);
        same(&format!("logits of {}", other.display()), &(found == expected), &true)?;
    }
    let exact = all_logits(&packed(), device, ActivationPrecision::Exact)?;
    let plain = all_logits(&dense, device, ActivationPrecision::Exact)?;
    within("exact activations", max_difference(&exact, &plain), ROUNDING)?;
    same("int8 changes something", &(bits(&exact) == expected), &false)
}

fn weight(folder: &Path, path: &str) -> Result<PackedTensor, Failed> {
    let checkpoint = Checkpoint::open(folder)?;
    Ok(importer(&read_config(folder)?["quantization_config"], folder)?.decode(path, &checkpoint)?)
}

/// With scales of 1 on both sides a product is the integer sum itself.
fn integers(device: &Device) -> Outcome {
    let mut weight = weight(&packed(), "model.layers.1.mlp.up_proj")?;
    weight.scales = vec![1.0];
    let levels = weight.unpack()?.dequantize();
    for rows in [1, 3, 40] {
        // The first value of each row makes the step 1.
        let x: Vec<f32> =
            (0..rows * 40).map(|i| if i % 40 == 0 { 127.0 } else { ((i * 89 + 17) % 255) as f32 - 127.0 }).collect();
        let w = GroupWeight::upload(device, &weight)?;
        let mut rec = Recorder::new(device);
        let int8 = op::int8(&mut rec, &Activations::upload(device, rows, 40, &x)?, 40)?;
        let y = op::group_int8(&mut rec, &int8, &w)?;
        rec.submit()?;
        let dot = |row: usize, out: usize| (0..40).map(|k| x[row * 40 + k] * levels[out * 40 + k]).sum::<f32>();
        let expected: Vec<f32> = (0..rows * 20).map(|i| dot(i / 20, i % 20)).collect();
        same("integers", &pollster::block_on(y.read(device))?, &expected)?;
    }
    Ok(())
}

/// Few tokens, so that software Vulkan does it in seconds; `baselines` has the perplexities.
fn shared_model(model: &str, device: &Device) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (again, models) = (folder.path().join("again"), shared().join("models"));
    let (packed, dense) = (models.join(format!("{model}-ternary-packed")), models.join(format!("{model}-ternary")));
    export_model(&ExportRequest::new(&packed, &again, "bitnet"), &mut Silent)?;
    let expected = bits(&all_logits(&packed, device, ActivationPrecision::Auto)?);
    for other in [&dense, &again] {
        let found = bits(&all_logits(other, device, ActivationPrecision::Auto)?);
        same(&format!("logits of {}", other.display()), &(found == expected), &true)?;
    }
    let streamed = StreamedModel::open(&again, device)?;
    let block = streamed.block(0)?;
    let bits_per_weight = 8.0 * block.bytes() as f64 / block.parameters() as f64;
    println!("{bits_per_weight:.4} bits a weight");
    same("bits a weight are few", &(bits_per_weight <= MOST_BITS), &true)?;
    let opened = Model::open(&again, device)?;
    let done = pollster::block_on(generate(&opened, &[1, 403], 8, Sampling::default(), |_| true))?;
    same("tokens", &done.tokens.len(), &8)
}
