//! Quantized models with int8 activations: near the exact ones, the same on every device.

use bitsmith::Device;
use bitsmith::eval::{EvalRequest, Evaluation, Reference, evaluate_folders};
use bitsmith::model::{Model, Sampling, generate};
use bitsmith::op::ActivationPrecision;
use bitsmith::progress::Silent;
use libtest_mimic::{Failed, Trial};

use crate::saved::quantize;
use crate::{Outcome, same, some_ids, tiny_llama, within};

/// Every kind of product: groups of whole words and others, zero points, one block and several in a row of one group.
const SETTINGS: [&str; 5] = [
    r#"{"bits":4,"group_size":32}"#,
    r#"{"bits":4,"group_size":128,"asymmetric":true}"#,
    r#"{"bits":3,"group_size":48,"asymmetric":true,"scale_type":"bf16"}"#,
    r#"{"bits":2,"group_size":16}"#,
    r#"{"bits":8,"group_size":"channel"}"#,
];
/// Relative change of the perplexity, in either direction. Rounding to 8 bits is off by at most 1/254 of a block's largest
/// value; of these settings the worst came to 4e-4.
const RELATIVE_COST: f32 = 2e-3;
/// Change of each prediction in nats, on average: a sixth of what 4 bits in groups of 32 do to the weights (0.0033). The
/// worst, at 2 bits, came to 2.3e-4.
const KL: f32 = 6e-4;
/// Equal inputs give equal codes on all devices, but the inputs of a layer differ by the roundings of the one before, and
/// a value next to a middle then takes another code, which changes others after it. So two devices may be as far from
/// each other as int8 is from exact, and no further.
const DEVICES: f32 = RELATIVE_COST;

pub fn trials(name: &str, device: &Device) -> Vec<Trial> {
    let mut trials = Vec::new();
    for settings in SETTINGS {
        let device = device.clone();
        trials.push(Trial::test(format!("int8/{name}/{settings}"), move || perplexity(settings, &device)));
    }
    let device = device.clone();
    trials.push(Trial::test(format!("int8/{name}/generates, and refuses a dense model"), move || generates(&device)));
    trials
}

fn evaluated(folder: &std::path::Path, device: &Device) -> Result<Evaluation, Failed> {
    let request = EvalRequest {
        text: tiny_llama().join("validation.txt").into(),
        documents: Some("<|endoftext|>".into()),
        max_tokens: Some(1024),
        window: Some(128),
        activations: ActivationPrecision::Int8,
        ..Default::default()
    };
    Ok(pollster::block_on(evaluate_folders(device, folder, None, &request, &mut Silent))?)
}

#[allow(clippy::cast_possible_truncation, reason = "figures to compare")]
fn perplexity(settings: &str, device: &Device) -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("packed");
    quantize(settings, &Device::cpu(), &out)?;
    let (found, cpu) = (evaluated(&out, device)?, evaluated(&out, &Device::cpu())?);
    same("compared with", &found.reference, &Some(Reference::ExactActivations))?;
    let exact = found.reference_perplexity.ok_or("a reference")?;
    let kl = found.kl.as_ref().ok_or("a reference")?.kl_mean;
    within("cost", (found.perplexity / exact - 1.0).abs() as f32, RELATIVE_COST)?;
    within("KL", kl as f32, KL)?;
    same("int8 changes something", &(kl > 0.0), &true)?;
    within("difference to the CPU", (found.perplexity / cpu.perplexity - 1.0).abs() as f32, DEVICES)
}

fn generates(device: &Device) -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("packed");
    quantize(SETTINGS[0], &Device::cpu(), &out)?;
    let model = Model::open_with(&out, device, ActivationPrecision::Int8)?;
    same("precision", &model.activations(), &ActivationPrecision::Int8)?;
    let prompt = [&[1], &some_ids(5, 512)[..]].concat();
    let done = pollster::block_on(generate(&model, &prompt, 20, Sampling::default(), |_| true))?;
    same("tokens", &done.tokens.len(), &20)?;
    match Model::open_with(&tiny_llama(), device, ActivationPrecision::Int8) {
        Err(bitsmith::Error::Config { field, .. }) => same("field", &field.as_str(), &"activations"),
        other => Err(format!("a dense model: {other:?}").into()),
    }
}
