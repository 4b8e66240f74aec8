//! LLM.int8 and smoothing: products against a formula in f64, what is written, and perplexities, with outliers planted where
//! a model has none. Those on the shared models need `shared/`; without it they are shown as ignored.

use std::path::{Path, PathBuf};

use bitsmith::eval::EvalRequest;
use bitsmith::export::{self, Quality};
use bitsmith::io::{Checkpoint, CheckpointWriter, ShardPlan, TensorSpec, is_conv1d, read_config};
use bitsmith::op::{Activations, GroupWeight, LayerInput};
use bitsmith::progress::Silent;
use bitsmith::quant::{
    ActivationKind, Int8, Int8Config, LlmInt8, LlmInt8Config, Mode, QuantizeRequest, Quantizer, quantize_model,
};
use bitsmith::{Device, Dtype, PackedTensor, QuantizedTensor, Random, Recorder, Scheme};
use libtest_mimic::{Arguments, Failed, Trial};

/// Perplexity of LLM.int8 relative to full precision.
const CLOSE: f64 = 0.002;
/// Plain int8 costs more than this on planted outliers: what it may cost without.
const FAILS: f64 = 0.005;
/// Of static or dynamic int8 on a smoothed model.
const SMOOTHED: f64 = 0.005;

/// Features that become outliers, and what they are multiplied by: a power of two, so that the model computes what it did.
/// The weights that they meet become as much smaller beside those of their rows, whose scales they share.
#[derive(Clone, Copy)]
struct Plant(&'static [usize], f32);

const SEPARATOR: &str = "<|endoftext|>";

/// Of the model that comes with the project.
const TINY: Plant = Plant(&[5, 42, 79, 116], 64.0);

/// Model, text, documents or tokens taken, window: few enough for seconds.
type Text = (&'static str, &'static str, Option<usize>, Option<usize>, usize);
const TEXTS: [Text; 4] = [
    ("stories260K", "tinystories/val.txt", Some(20), None, 256),
    ("babyllama-char-0.9M", "tinystories/val.txt", Some(10), None, 256),
    ("opt-shakespeare-char", "tinyshakespeare/input.txt", None, Some(8000), 64),
    ("gpt2-shakespeare-char", "tinyshakespeare/input.txt", None, Some(8000), 64),
];

/// Of those, and whether weights are kept: in stories260K, of 64 features, int8 weights that are multiplied by outliers cost
/// more than LLM.int8 may.
const PLANTS: [(Plant, bool); 4] = [
    (Plant(&[20, 33, 50], 16.0), true),
    (Plant(&[20, 33, 50], 16.0), false),
    (Plant(&[20], 32.0), false),
    (Plant(&[20], 32.0), false),
];

/// Norms before linear layers, by their names in a block.
const NORMS: [&str; 6] =
    ["input_layernorm", "post_attention_layernorm", "self_attn_layer_norm", "final_layer_norm", "ln_1", "ln_2"];
/// The layers that follow them.
const LAYERS: [&str; 8] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "fc1",
    "attn.c_attn",
    "mlp.c_fc",
];

fn main() {
    let shared = shared();
    let mut trials = vec![
        Trial::test("products follow the formula", products),
        Trial::test("a token that is not finite spoils no other", not_finite),
        Trial::test("the threshold is in the files", written),
        Trial::test("kept weights are in the files and meet outliers", kept),
        Trial::test("smoothing changes no prediction", same_function),
        Trial::test("impossible settings are refused with a remedy", refused),
        Trial::test("static inputs with outliers need smoothing", static_inputs),
        Trial::test("tiny-llama/planted", || planted_order(&tiny(), tiny_text(), TINY, false)),
    ];
    for (text, (plant, kept)) in TEXTS.into_iter().zip(PLANTS) {
        let close = |model: &Path, text| within("llm-int8", &llm_int8(false)?, model, &text, CLOSE);
        trials.push(on_shared(shared.clone(), text, "llm-int8", close));
        let order = move |model: &Path, text| planted_order(model, text, plant, kept);
        trials.push(on_shared(shared.clone(), text, "planted", order));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A trial on a shared model with a text.
fn on_shared(
    shared: Option<PathBuf>,
    text: Text,
    name: &str,
    run: impl FnOnce(&Path, EvalRequest) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let missing = shared.is_none();
    let folder = shared.unwrap_or_default();
    let run = move || run(&folder.join("models").join(text.0), request(&folder, text));
    let trial = Trial::test(format!("{}/{name}", text.0), run).with_ignored_flag(missing);
    trial.with_kind(if missing { "needs shared/" } else { "" })
}

fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    Some(std::env::var_os("BITSMITH_SHARED").map_or_else(beside, PathBuf::from)).filter(|p| p.join("models").is_dir())
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny-llama")
}

fn tiny_text() -> EvalRequest {
    let text = tiny().join("validation.txt").into();
    EvalRequest { text, window: Some(128), max_tokens: Some(2000), ..EvalRequest::default() }
}

fn request(shared: &Path, (_, file, documents, tokens, window): Text) -> EvalRequest {
    EvalRequest {
        text: shared.join("text").join(file).into(),
        window: Some(window),
        documents: documents.map(|_| SEPARATOR.into()),
        max_documents: documents,
        max_tokens: tokens,
        ..EvalRequest::default()
    }
}

fn llm_int8(keep_fp16_weight: bool) -> Result<LlmInt8, Failed> {
    Ok(LlmInt8::new(LlmInt8Config { keep_fp16_weight, ..LlmInt8Config::default() })?)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), Failed> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, not {expected:?}").into()) }
}

/// Perplexities before and after.
fn quality(method: &dyn Quantizer, model: &Path, text: &EvalRequest) -> Result<Quality, Failed> {
    let folder = tempfile::tempdir()?;
    let request = QuantizeRequest::new(model, folder.path().join("out")).quality(text.clone());
    let done = pollster::block_on(quantize_model(&Device::cpu(), method, &request, &mut Silent))?;
    done.record.quality.ok_or_else(|| "it was measured".into())
}

fn change(method: &dyn Quantizer, model: &Path, text: &EvalRequest) -> Result<f64, Failed> {
    let Quality { perplexity_before: before, perplexity_after: after, .. } = quality(method, model, text)?;
    Ok(after / before - 1.0)
}

fn within(name: &str, method: &dyn Quantizer, model: &Path, text: &EvalRequest, most: f64) -> Result<(), Failed> {
    let change = change(method, model, text)?;
    println!("{name}: {change:+.5}, {most} at most");
    if change.abs() <= most { Ok(()) } else { Err(format!("{name}: {change:+.4}, over {most}").into()) }
}

/// On a model with planted outliers plain int8 fails; with outliers apart, or smoothed, it does not.
fn planted_order(model: &Path, text: EvalRequest, features: Plant, kept: bool) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let planted = folder.path().join("planted");
    plant(model, &planted, features)?;
    let plain = Int8Config { mode: Mode::Symmetric, ..Int8Config::default() };
    let fails = change(&Int8::new(plain.clone())?, &planted, &text)?;
    if fails < FAILS {
        return Err(format!("plain int8 was to fail, but costs {fails:+.4}").into());
    }
    within("planted, llm-int8", &llm_int8(kept)?, &planted, &text, CLOSE)?;
    let smooth = Int8Config { smooth: Some(0.5), calib_samples: 8, ..plain };
    within("planted, smoothed int8", &Int8::new(smooth)?, &planted, &text, SMOOTHED)
}

fn static_inputs() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let planted = folder.path().join("planted");
    plant(&tiny(), &planted, TINY)?;
    let plain = Int8Config { activations: ActivationKind::Static, calib_samples: 8, ..Int8Config::default() };
    let fails = change(&Int8::new(plain.clone())?, &planted, &tiny_text())?;
    if fails < 0.5 {
        return Err(format!("one scale for outliers and the rest was to fail, but costs {fails:+.4}").into());
    }
    let smooth = Int8Config { smooth: Some(0.5), ..plain };
    within("smoothed static int8", &Int8::new(smooth)?, &planted, &tiny_text(), SMOOTHED)
}

/// Multiplies some features of each norm before linear layers and divides the weights that they meet.
fn plant(model: &Path, out: &Path, Plant(features, factor): Plant) -> Result<(), Failed> {
    std::fs::create_dir(out)?;
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(model.join(name), out.join(name))?;
    }
    let (config, checkpoint) = (read_config(model)?, Checkpoint::open(model)?);
    let specs = checkpoint.infos().map(|info| TensorSpec::new(info.name.clone(), info.dtype, info.shape.clone()));
    let mut writer = CheckpointWriter::create(out, ShardPlan::new(specs.collect(), u64::MAX)?)?;
    let of_block = |name: &str, part: &str| {
        let found = name.split_once(part).filter(|(_, rest)| matches!(*rest, ".weight" | ".bias"));
        found.is_some_and(|(block, _)| block.ends_with('.') && block.contains(|c: char| c.is_ascii_digit()))
    };
    for info in checkpoint.infos() {
        let tensor = checkpoint.tensor(&info.name)?;
        let norm = NORMS.iter().any(|norm| of_block(&info.name, norm));
        let layer = info.name.ends_with(".weight") && LAYERS.iter().any(|layer| of_block(&info.name, layer));
        let mut values = tensor.to_f32();
        let last = tensor.shape().last().copied().unwrap_or(1);
        let conv1d = info.name.strip_suffix(".weight").is_some_and(|path| is_conv1d(&config, path));
        for (i, value) in values.iter_mut().enumerate() {
            let feature = if conv1d { i / last } else { i % last };
            match (norm, layer) {
                _ if !features.contains(&feature) => {}
                (true, _) => *value *= factor,
                (_, true) => *value /= factor,
                _ => {}
            }
        }
        writer.write(&info.name, &tensor.dtype().encode(&values))?;
    }
    Ok(writer.finish()?)
}

fn weight(random: &mut Random, scheme: &str, rows: usize, cols: usize) -> Result<QuantizedTensor, Failed> {
    let scheme: Scheme = scheme.parse()?;
    let groups = scheme.groups(rows, cols).count();
    let mut code = || random.below(256).to_le_bytes()[0];
    let codes = (0..rows * cols).map(|_| code()).collect();
    let zeros = (0..groups).map(|_| code()).collect();
    let scales = (0..groups).map(|_| scheme.scale_type().round(0.02 * random.normal())).collect();
    Ok(QuantizedTensor::new(scheme, rows, cols, codes, scales, (!scheme.is_symmetric()).then_some(zeros))?)
}

/// What the layer gives, in f64: int8 with a scale for each token where no value of a column reaches 6, else f16.
fn formula(x: &[f32], w: &[f32], cols: usize) -> Vec<f64> {
    let apart: Vec<bool> = (0..cols).map(|col| x.chunks(cols).any(|row| row[col].abs() >= 6.0)).collect();
    let token = |x: &[f32]| {
        let rest = x.iter().zip(&apart).map(|(x, apart)| if *apart { 0.0 } else { *x });
        let scale = f64::from(rest.fold(0f32, |most, x| most.max(x.abs()))) / 127.0;
        let value = |(x, apart): (&f32, &bool)| match (*apart, scale > 0.0) {
            (true, _) => f64::from(Dtype::F16.round(*x)),
            (false, true) => (f64::from(*x) / scale).round_ties_even() * scale,
            (false, false) => 0.0,
        };
        let x: Vec<f64> = x.iter().zip(&apart).map(value).collect();
        w.chunks(cols).map(|w| w.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum()).collect::<Vec<f64>>()
    };
    x.chunks(cols).flat_map(token).collect()
}

fn products() -> Result<(), Failed> {
    let device = Device::cpu();
    let mut random = Random::new(5);
    let input = LayerInput::Outliers { threshold: 6.0, kept: false };
    for (scheme, rows, cols, batch) in
        [("w8cs-f32", 7, 33, 1), ("w8ca-f32", 5, 172, 3), ("w8ts-f16", 3, 300, 9), ("w8ta-bf16", 9, 64, 65)]
    {
        let tensor = weight(&mut random, scheme, rows, cols)?;
        let w: GroupWeight = input.upload(&device, &PackedTensor::pack(&tensor))?;
        let mut x = random.normals(batch * cols);
        x.iter_mut().enumerate().filter(|(i, _)| i % cols % 13 == 4).for_each(|(_, x)| *x *= 40.0);
        let expected = formula(&x, &tensor.dequantize(), cols);
        let mut recorder = Recorder::new(&device);
        let y = input.apply(&mut recorder, &Activations::upload(&device, batch, cols, &x)?, &w)?;
        recorder.submit()?;
        // Sums of random signs, of weights up to 5 with inputs up to 100.
        let bound = 1e-5 * 500.0 * (cols as f64).sqrt();
        for (i, (y, expected)) in pollster::block_on(y.read(&device))?.iter().zip(expected).enumerate() {
            if (f64::from(*y) - expected).abs() > bound {
                return Err(format!("{scheme} {batch}x{cols}, {i}: {y}, not {expected}").into());
            }
        }
    }
    let narrow = QuantizedTensor::new("w4cs-f32".parse()?, 1, 2, vec![3, 12], vec![0.5], None)?;
    let w = input.upload(&device, &PackedTensor::pack(&narrow))?;
    let x = Activations::upload(&device, 1, 2, &[1.0, 2.0])?;
    let error = input.apply(&mut Recorder::new(&device), &x, &w).err().ok_or("4 bits are refused")?.to_string();
    if error.contains("a weight of 8 bits") { Ok(()) } else { Err(error.into()) }
}

fn not_finite() -> Result<(), Failed> {
    let device = Device::cpu();
    let input = LayerInput::Outliers { threshold: 6.0, kept: false };
    let tensor = QuantizedTensor::new("w8cs-f32".parse()?, 1, 2, vec![130, 129], vec![1.0], None)?;
    let w = input.upload(&device, &PackedTensor::pack(&tensor))?;
    let x = Activations::upload(&device, 3, 2, &[1.0, 127.0 / 32.0, f32::NAN, 1.0, 0.0, -0.0])?;
    let mut recorder = Recorder::new(&device);
    let y = input.apply(&mut recorder, &x, &w)?;
    recorder.submit()?;
    let y = pollster::block_on(y.read(&device))?;
    same("beside a NaN", &[y[0], y[2]], &[2.0 + 127.0 / 32.0, 0.0])?;
    same("a NaN", &y[1].is_nan(), &true)
}

fn written() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let method = LlmInt8::new(LlmInt8Config { outlier_threshold: 4.1, ..LlmInt8Config::default() })?;
    let request = QuantizeRequest::new(tiny(), &out);
    let done = pollster::block_on(quantize_model(&Device::cpu(), &method, &request, &mut Silent))?;
    same("layers", &done.record.layers.len(), &28)?;
    let notes = done.notes.join("\n");
    if !notes.contains("others round outliers of the inputs with the rest") {
        return Err(format!("the note is missing in {notes}").into());
    }
    let mut config = read_config(&out)?["quantization_config"].take();
    let group = &config["config_groups"]["group_0"];
    same("strategy", &group["input_activations"]["strategy"], &"token".into())?;
    let read = |config: &serde_json::Value| -> Result<Vec<LayerInput>, Failed> {
        let layers = export::importer(config, &out)?.layers(&Checkpoint::open(&out)?)?;
        Ok(layers.into_iter().map(|layer| layer.input).collect())
    };
    same("inputs", &read(&config)?, &vec![LayerInput::Outliers { threshold: 4.1, kept: false }; 28])?;
    config["llm_int8_threshold"] = 0.into();
    let error = export::importer(&config, &out).err().ok_or("0 is no threshold")?.to_string();
    if !error.contains("llm_int8_threshold is 0, which is no number above 0") {
        return Err(error.into());
    }
    config.as_object_mut().ok_or("an object")?.remove("llm_int8_threshold");
    same("without it", &read(&config)?, &vec![LayerInput::Tokens; 28])
}

/// A kept weight is the original's in f16, read as it was written, and outliers meet it and not the codes.
fn kept() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let done = pollster::block_on(quantize_model(
        &Device::cpu(),
        &llm_int8(true)?,
        &QuantizeRequest::new(tiny(), &out),
        &mut Silent,
    ))?;
    // 8 bits, 16 more, and a scale a channel.
    let bits = done.record.sizes.bits_per_weight;
    same("24 bits a weight", &(24.0..24.4).contains(&bits), &true)?;
    let (config, checkpoint) = (read_config(&out)?["quantization_config"].take(), Checkpoint::open(&out)?);
    let reader = export::importer(&config, &out)?;
    let input = LayerInput::Outliers { threshold: 6.0, kept: true };
    let path = "model.layers.1.mlp.down_proj";
    let layer = reader.layers(&checkpoint)?.into_iter().find(|layer| layer.path == path).ok_or("the layer")?;
    same("input", &layer.input, &input)?;
    let weight = reader.decode(path, &checkpoint)?;
    let original = Checkpoint::open(&tiny())?.tensor(&format!("{path}.weight"))?.to_f32();
    same("kept", &weight.kept, &Some(Dtype::F16.encode(&original)))?;
    // One outlier, whose product is exact; the rest is 0.
    let device = Device::cpu();
    let mut x = vec![0.0; layer.cols];
    x[7] = 64.0;
    let mut recorder = Recorder::new(&device);
    let uploaded = input.upload(&device, &weight)?;
    same("bytes", &(uploaded.bytes() >= 3 * layer.rows * layer.cols), &true)?;
    let y = input.apply(&mut recorder, &Activations::upload(&device, 1, layer.cols, &x)?, &uploaded)?;
    recorder.submit()?;
    let expected: Vec<f32> = original.chunks(layer.cols).map(|row| 64.0 * Dtype::F16.round(row[7])).collect();
    same("product", &pollster::block_on(y.read(&device))?, &expected)?;
    let bare = PackedTensor { kept: None, ..weight };
    let error = input.upload(&device, &bare).err().ok_or("nothing is kept")?.to_string();
    if error.contains("kept in f16") { Ok(()) } else { Err(error.into()) }
}

/// All factors are powers of two: perplexities agree to the last bit.
fn same_function() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let planted = folder.path().join("planted");
    plant(&tiny(), &planted, TINY)?;
    let config = Int8Config {
        activations: ActivationKind::Static,
        smooth: Some(0.5),
        calib_samples: 2,
        ..Int8Config::default()
    };
    let text = EvalRequest { max_tokens: Some(300), ..tiny_text() };
    let original = quality(&llm_int8(false)?, &tiny(), &text)?.perplexity_before;
    for model in [&tiny(), &planted] {
        let smoothed = quality(&Int8::new(config.clone())?, model, &text)?.perplexity_before;
        same("perplexity", &smoothed, &original)?;
    }
    let out = folder.path().join("out");
    let request = QuantizeRequest::new(&planted, &out);
    let done = pollster::block_on(quantize_model(&Device::cpu(), &Int8::new(config)?, &request, &mut Silent))?;
    same("name", &done.record.model.as_str(), &"planted")?;
    let left: Vec<_> = std::fs::read_dir(folder.path())?.map(|entry| entry.map(|e| e.file_name())).collect();
    same("nothing is left beside it", &left.len(), &2)?;
    let norm = "model.layers.0.input_layernorm.weight";
    let [before, after] = [&planted, &out].map(|folder| Ok(Checkpoint::open(folder)?.tensor(norm)?.to_f32()));
    let [before, after]: [Result<Vec<f32>, Failed>; 2] = [before, after];
    let factors: Vec<f32> = before?.iter().zip(after?).map(|(before, after)| before / after).collect();
    let (outlier, usual) = (factors[5], factors[6]);
    if outlier > 4.0 * usual { Ok(()) } else { Err(format!("the outlier is divided by {outlier}, not {usual}").into()) }
}

fn refused() -> Result<(), Failed> {
    let check = |error: Option<bitsmith::Error>, words: &str| {
        let error = error.ok_or(words)?.to_string();
        if error.contains(words) { Ok(()) } else { Err(Failed::from(format!("{error} does not say: {words}"))) }
    };
    for outlier_threshold in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let config = LlmInt8Config { outlier_threshold, ..LlmInt8Config::default() };
        check(LlmInt8::new(config).err(), "is no number above 0; 6 is usual")?;
    }
    let config = Int8Config { smooth: Some(1.5), ..Int8Config::default() };
    check(Int8::new(config.clone()).err(), "1.5 is not from 0 to 1")?;
    let config = Int8Config { smooth: Some(0.5), activations: ActivationKind::None, ..config };
    check(Int8::new(config).err(), "it is for int8 activations")
}
