//! The method int8: what it decides and writes on the model that comes with the project, and its perplexities on the shared
//! models, which need `shared/`; without it those trials are shown as ignored.

use std::path::{Path, PathBuf};

use bitsmith::eval::{EvalRequest, evaluate_folders};
use bitsmith::export::{self, LayerRecord};
use bitsmith::io::{Checkpoint, read_config};
use bitsmith::op::{ActivationPrecision, LayerInput};
use bitsmith::progress::{Progress, Silent};
use bitsmith::quant::{
    ActivationKind, Granularity, Int8, Int8Calibration, Int8Config, Mode, Outcome, QuantizeRequest, quantize_model,
};
use bitsmith::{Device, Error};
use libtest_mimic::{Arguments, Failed, Trial};

/// Weights of 8 bits per channel, relative to full precision.
const WEIGHTS: f64 = 0.003;
/// Activations by token as well.
const DYNAMIC: f64 = 0.005;

const SEPARATOR: &str = "<|endoftext|>";

/// Model, text, documents or tokens taken, window: few enough for seconds.
type Text = (&'static str, &'static str, Option<usize>, Option<usize>, usize);
const TEXTS: [Text; 4] = [
    ("stories260K", "tinystories/val.txt", Some(20), None, 256),
    ("babyllama-char-0.9M", "tinystories/val.txt", Some(10), None, 256),
    ("opt-shakespeare-char", "tinyshakespeare/input.txt", None, Some(8000), 64),
    ("gpt2-shakespeare-char", "tinyshakespeare/input.txt", None, Some(8000), 64),
];

fn main() {
    let shared = shared();
    let mut trials = vec![
        Trial::test("both forms of a file hold the same codes", both_forms),
        Trial::test("a score decides, and static inputs follow from a text", auto),
        Trial::test("a run that looked at a text is resumed to the same bytes", resumed),
        Trial::test("impossible settings are refused with a remedy", refused),
        Trial::test("weights alone need no config.json", weights_alone),
    ];
    for text in TEXTS {
        for (name, activations, most) in
            [("weights", ActivationKind::None, WEIGHTS), ("dynamic", ActivationKind::Dynamic, DYNAMIC)]
        {
            let folder = shared.clone();
            let run = move || {
                let config = Int8Config { activations, ..Int8Config::default() };
                let [before, after] = perplexities(&folder.unwrap_or_default(), text, config)?;
                let change = after / before - 1.0;
                if change.abs() <= most { Ok(()) } else { Err(format!("{before} -> {after}: {change:+.4}").into()) }
            };
            let trial = Trial::test(format!("{}/{name}", text.0), run).with_ignored_flag(shared.is_none());
            trials.push(trial.with_kind(if shared.is_none() { "needs shared/" } else { "" }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    Some(std::env::var_os("BITSMITH_SHARED").map_or_else(beside, PathBuf::from)).filter(|p| p.join("models").is_dir())
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny-llama")
}

fn quantize(config: Int8Config, out: &Path) -> Result<Outcome, Failed> {
    let request = QuantizeRequest::new(tiny(), out);
    Ok(pollster::block_on(quantize_model(&Device::cpu(), &Int8::new(config)?, &request, &mut Silent))?)
}

fn perplexities(
    shared: &Path,
    (model, file, documents, tokens, window): Text,
    config: Int8Config,
) -> Result<[f64; 2], Failed> {
    let folder = tempfile::tempdir()?;
    let text = EvalRequest {
        text: shared.join("text").join(file).into(),
        window: Some(window),
        documents: documents.map(|_| SEPARATOR.into()),
        max_documents: documents,
        max_tokens: tokens,
        ..EvalRequest::default()
    };
    let request = QuantizeRequest::new(shared.join("models").join(model), folder.path().join("out")).quality(text);
    let done = pollster::block_on(quantize_model(&Device::cpu(), &Int8::new(config)?, &request, &mut Silent))?;
    let quality = done.record.quality.ok_or("it was measured")?;
    Ok([quality.perplexity_before, quality.perplexity_after])
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), Failed> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, not {expected:?}").into()) }
}

/// Weights alone are packed, those with int8 inputs lie one a byte: with exact activations both give the same logits.
fn both_forms() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let [packed, plain] = ["packed", "plain"].map(|name| folder.path().join(name));
    let config = Int8Config { weight_mode: Mode::Asymmetric, ..Int8Config::default() };
    quantize(Int8Config { activations: ActivationKind::None, ..config.clone() }, &packed)?;
    let made = quantize(Int8Config { mode: Mode::Symmetric, ..config }, &plain)?;
    same("no text was needed", &made.record.calibration, &None)?;
    let text = |activations| EvalRequest {
        text: tiny().join("validation.txt").into(),
        window: Some(64),
        max_tokens: Some(500),
        activations,
        ..EvalRequest::default()
    };
    let compare = |activations| {
        let request = text(activations);
        pollster::block_on(evaluate_folders(&Device::cpu(), &plain, Some(&packed), &request, &mut Silent))
    };
    let exact = compare(ActivationPrecision::Exact)?;
    same("perplexity", &Some(exact.perplexity), &exact.reference_perplexity)?;
    let meant = compare(ActivationPrecision::Auto)?;
    let kl = meant.kl.ok_or("there is a reference")?.kl_mean;
    if kl > 0.0 && kl < 1e-2 { Ok(()) } else { Err(format!("int8 inputs differ by {kl} nats").into()) }
}

fn auto() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    // Most inputs of this model have scores above 0.9.
    let config = Int8Config {
        granularity: Granularity::Tensor,
        weight_mode: Mode::Auto,
        activations: ActivationKind::Static,
        calibration: Int8Calibration::Percentile,
        symmetry_threshold: 0.95,
        calib_samples: 4,
        ..Int8Config::default()
    };
    let record = quantize(config, &out)?.record;
    let data = record.calibration.ok_or("a text was read")?;
    same("samples", &(data.samples, data.seq_len), &(4, 128))?;
    let mut kinds = [false; 2];
    for layer in &record.layers {
        let seen = layer.observed.ok_or("every layer was seen")?;
        let symmetric = seen.input.symmetry > 0.95;
        kinds[usize::from(symmetric)] = true;
        let LayerInput::Static { scale, zero } = layer.input else { return Err("inputs are static".into()) };
        if symmetric != (zero == 0) || scale <= 0.0 {
            return Err(format!("{}: {:?} for {seen:?}", layer.path, layer.input).into());
        }
        same(&layer.path, &layer.scheme.is_symmetric(), &(seen.output.symmetry > 0.95))?;
        let expected = (-seen.input.mean.abs() / (seen.input.deviation + 1e-8)).exp();
        same("score", &seen.input.symmetry, &expected)?;
    }
    same("both kinds occur", &kinds, &[true; 2])?;
    // The files say the same.
    let importer = export::importer(&read_config(&out)?["quantization_config"], &out)?;
    for found in importer.layers(&Checkpoint::open(&out)?)? {
        let made = |layer: &&LayerRecord| layer.path == found.path;
        same(&found.path, &Some(&found.input), &record.layers.iter().find(made).map(|layer| &layer.input))?;
    }
    Ok(())
}

/// Asks to stop when so many tensors are done.
struct Stop {
    quantizing: bool,
    left: usize,
}

impl Progress for Stop {
    fn begin(&mut self, what: &str, _: u64) {
        self.quantizing = what == "quantizing";
    }

    fn advance(&mut self, _: u64, _: &str) {
        self.left -= usize::from(self.quantizing);
    }

    fn end(&mut self) {}

    fn cancelled(&self) -> bool {
        self.left == 0
    }
}

fn resumed() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let config = Int8Config { activations: ActivationKind::Static, calib_samples: 2, ..Int8Config::default() };
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    quantize(config.clone(), &whole)?;
    let int8 = Int8::new(config)?;
    let request = QuantizeRequest::new(tiny(), &parts);
    let mut stop = Stop { quantizing: false, left: 9 };
    match pollster::block_on(quantize_model(&Device::cpu(), &int8, &request, &mut stop)) {
        Err(Error::Unfinished { finished: 9, .. }) => {}
        other => return Err(format!("it was to stop: {other:?}").into()),
    }
    let done = pollster::block_on(quantize_model(&Device::cpu(), &int8, &request.resume(), &mut Silent))?;
    same("finished before", &done.resumed, &9)?;
    for file in ["model.safetensors", "config.json", "bitsmith.json"] {
        same(file, &std::fs::read(parts.join(file))?, &std::fs::read(whole.join(file))?)?;
    }
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let config = Int8Config::default();
    for (config, words) in [
        (Int8Config { symmetry_threshold: 1.5, ..config.clone() }, "symmetry_threshold: 1.5 is not from 0 to 1"),
        (Int8Config { symmetry_threshold: f64::NAN, ..config.clone() }, "0.6 is usual"),
        (Int8Config { epsilon: 0.0, ..config.clone() }, "such as 1e-8"),
        (Int8Config { calib_samples: 0, ..config.clone() }, "at least 1"),
        (Int8Config { calibration: Int8Calibration::Kl, ..config.clone() }, "`kl` is for --activations static"),
        (
            Int8Config { activations: ActivationKind::None, mode: Mode::Symmetric, ..config },
            "`symmetric` is for int8 activations",
        ),
    ] {
        let error = Int8::new(config).err().ok_or(words)?.to_string();
        if !error.contains(words) {
            return Err(format!("{error} does not say: {words}").into());
        }
    }
    for text in ["static ", "Auto", ""] {
        same(text, &text.parse::<Mode>().is_err(), &true)?;
    }
    Ok(())
}

/// A single safetensors file has nothing that could be run; weights are quantized, and what needs a run says so.
fn weights_alone() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let file = tiny().join("model.safetensors");
    let run = |config: Int8Config| {
        let request = QuantizeRequest::new(&file, folder.path().join("out")).force();
        pollster::block_on(quantize_model(&Device::cpu(), &Int8::new(config)?, &request, &mut Silent))
    };
    let config = Int8Config { activations: ActivationKind::None, ..Int8Config::default() };
    same("layers", &run(config)?.record.layers.len(), &28)?;
    let error = run(Int8Config::default()).err().ok_or("there is nothing to observe")?.to_string();
    if error.contains("--method rtn") || error.contains("config.json") { Ok(()) } else { Err(error.into()) }
}
