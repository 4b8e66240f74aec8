//! Models on a GPU and the processor.

use bitsmith::Device;
use bitsmith::Recorder;
use bitsmith::eval::{EvalRequest, evaluate_folders};
use bitsmith::model::{Model, Room, Sampling, generate};
use bitsmith::op::ActivationPrecision;
use bitsmith::progress::Silent;
use bitsmith::quant::{LlmInt8, LlmInt8Config, QuantizeRequest, quantize_model};
use libtest_mimic::{Failed, Trial};

use crate::{Outcome, max_difference, same, some_ids, tiny_llama, within};

/// Logits of two devices, in any of its blocks: f32 sums in another order.
const LOGITS: f32 = 1e-4;
/// Inputs that these move to the next int8 code.
const INT8_LOGITS: f32 = 5e-2;
/// Perplexities, in shares.
const PERPLEXITY: f32 = 1e-4;

/// Of a GPU; the processor refuses.
pub fn trials(name: &str, device: &Device) -> Vec<Trial> {
    let trial = |what: &str, run: fn(&Device) -> Outcome| {
        let device = device.clone();
        Trial::test(format!("{name}/split/{what}"), move || run(&device))
    };
    match device {
        Device::Cpu(_) => vec![trial("the processor has no limit", processor)],
        #[allow(unreachable_patterns, reason = "without wgpu there is one kind of device")]
        _ => vec![trial("float", float), trial("llm-int8", llm_int8), trial("commands", commands)],
    }
}

fn room(bytes: u64) -> Room {
    Room { bytes, offload: true }
}

fn processor(device: &Device) -> Outcome {
    let error = Model::open_within(&tiny_llama(), device, ActivationPrecision::Auto, room(1 << 30)).err();
    let error = error.ok_or("the processor takes no limit")?.to_string();
    if error.contains("gpu_memory_mb") { Ok(()) } else { Err(error.into()) }
}

/// Logits of a prompt and of a token after it.
fn logits(model: &Model) -> Result<Vec<f32>, Failed> {
    let mut cache = model.cache(1, 16)?;
    let mut all = Vec::new();
    for ids in [some_ids(9, 512), vec![77]] {
        let mut rec = Recorder::new(model.device());
        let hidden = pollster::block_on(model.pass(&mut rec, &ids, &mut cache))?;
        let logits = model.logits(&mut rec, &hidden)?;
        rec.submit()?;
        all.extend(pollster::block_on(logits.read(model.device()))?);
    }
    Ok(all)
}

/// With every number of blocks on the device.
fn everywhere(folder: &std::path::Path, device: &Device, limit: f32) -> Outcome {
    let whole = Model::open(folder, &Device::cpu())?;
    let expected = logits(&whole)?;
    let blocks = whole.config().num_hidden_layers as u64;
    let linears: u64 = whole.linears().map(bitsmith::model::Linear::bytes).sum();
    let (block, ends) = (linears / blocks, whole.bytes() - linears);
    for fit in 0..=blocks {
        // Norms are in none of the sums; half a block is room for them.
        let model =
            Model::open_within(folder, device, ActivationPrecision::Auto, room(ends + block * fit + block / 2))?;
        let place = model.place();
        let split = format!("({fit} of {blocks} blocks)");
        same(&place, &place.contains(&split), &(fit > 0 && fit < blocks))?;
        within(&place, max_difference(&logits(&model)?, &expected), limit)?;
        if fit > 0 && fit < blocks {
            let mut cache = model.cache(1, 4)?;
            let error = model.hidden(&mut Recorder::new(model.device()), &[1], &mut cache).err();
            same("one recording", &error.is_some_and(|e| e.to_string().contains("Model::pass")), &true)?;
            same("bytes", &(model.bytes() > whole.bytes()), &true)?;
        }
    }
    let tight = Room { bytes: ends + block, offload: false };
    let error = Model::open_within(folder, device, ActivationPrecision::Auto, tight).err().ok_or("it does not fit")?;
    same("the remedy", &error.to_string().contains("--cpu-offload"), &true)
}

fn float(device: &Device) -> Outcome {
    everywhere(&tiny_llama(), device, LOGITS)
}

fn llm_int8(device: &Device) -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let method = LlmInt8::new(LlmInt8Config { keep_fp16_weight: true, ..LlmInt8Config::default() })?;
    pollster::block_on(quantize_model(
        &Device::cpu(),
        &method,
        &QuantizeRequest::new(tiny_llama(), &out),
        &mut Silent,
    ))?;
    everywhere(&out, device, INT8_LOGITS)
}

/// What `eval` and `generate` do.
fn commands(device: &Device) -> Outcome {
    let half = room(1_000_000);
    let text = |room| EvalRequest {
        text: tiny_llama().join("validation.txt").into(),
        window: Some(32),
        max_tokens: Some(320),
        room,
        ..EvalRequest::default()
    };
    let run =
        |device, room| pollster::block_on(evaluate_folders(device, &tiny_llama(), None, &text(room), &mut Silent));
    let (split, whole) = (run(device, Some(half))?, run(&Device::cpu(), None)?);
    same("place", &split.device.contains("of 4 blocks) and"), &true)?;
    within("perplexity", (split.perplexity / whole.perplexity - 1.0).abs() as f32, PERPLEXITY)?;
    let tokens = |model: &Model| {
        Ok::<_, Failed>(pollster::block_on(generate(model, &[1, 50], 12, Sampling::default(), |_| true))?.tokens)
    };
    let split = Model::open_within(&tiny_llama(), device, ActivationPrecision::Auto, half)?;
    same("tokens", &tokens(&split)?, &tokens(&Model::open(&tiny_llama(), &Device::cpu())?)?)
}
