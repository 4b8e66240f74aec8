//! Quantization of a model that is trained with the quantizer in the loop before it is packed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::TrainConfig;
use super::deploy::Deploy;
use super::language_model::train_model;
use super::record::TrainRecord;
use super::request::TrainRequest;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::eval;
use crate::io::{Checkpoint, ModelConfig, Staging, TextFacts, TextSource, TokenStream, Tokenizer};
use crate::nn::BitLinearConfig;
use crate::progress::Progress;
use crate::quant::{Outcome, QuantizeRequest, Quantizer, beside, quantize_model};

/// Settings of the training before a quantization, as typed on the command line and as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneConfig {
    /// Steps of the optimiser
    #[cfg_attr(feature = "cli", arg(id = "finetune_steps", long = "finetune-steps", value_name = "N"))]
    #[cfg_attr(feature = "cli", arg(requires = "finetune", default_value_t = FinetuneConfig::default().steps))]
    pub steps: u32,
    /// Sequences of a step
    #[cfg_attr(feature = "cli", arg(id = "finetune_batch_size", long = "finetune-batch-size", value_name = "N"))]
    #[cfg_attr(feature = "cli", arg(requires = "finetune", default_value_t = FinetuneConfig::default().batch_size))]
    pub batch_size: usize,
    /// Tokens of a sequence [default: 512, or the model's context if that is shorter]
    #[cfg_attr(feature = "cli", arg(id = "finetune_seq_len", long = "finetune-seq-len", value_name = "TOKENS"))]
    #[cfg_attr(feature = "cli", arg(requires = "finetune"))]
    pub seq_len: Option<usize>,
    /// Length of the longest step
    #[cfg_attr(feature = "cli", arg(id = "finetune_lr", long = "finetune-lr", value_name = "RATE"))]
    #[cfg_attr(feature = "cli", arg(requires = "finetune", default_value_t = FinetuneConfig::default().lr))]
    pub lr: f32,
    /// What the order of the text depends on
    #[cfg_attr(feature = "cli", arg(id = "finetune_seed", long = "finetune-seed", value_name = "N"))]
    #[cfg_attr(feature = "cli", arg(requires = "finetune", default_value_t = FinetuneConfig::default().seed))]
    pub seed: u32,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self { steps: 1000, batch_size: 16, seq_len: None, lr: 2e-3, seed: 0 }
    }
}

impl FinetuneConfig {
    /// The training that they describe.
    fn training(&self, linear: BitLinearConfig) -> TrainConfig {
        TrainConfig {
            steps: self.steps,
            batch_size: self.batch_size,
            seq_len: self.seq_len,
            lr: Some(self.lr),
            seed: self.seed,
            weight_decay: 0.0,
            weights: linear.weights,
            granularity: crate::quant::GroupSize(linear.granularity),
            activations: linear.activations,
            ..TrainConfig::default()
        }
    }
}

/// What a model reads before it is quantized, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Finetune {
    /// The text to learn.
    pub text: TextSource,
    /// Split plain text at this separator into documents.
    pub documents: Option<String>,
    /// How.
    pub config: FinetuneConfig,
}

/// [`quantize_model`] of a model that first learns a text with the quantizer in the loop: each step computes with quantized
/// weights, and gradients go straight through. All parameters train; what is not quantized is written in f32. The weights
/// that trained lie in a hidden folder beside the result until that is complete; [`QuantizeRequest::resume`] goes on with
/// either half. Quality and sizes are told against the model of the request.
///
/// ```
/// use bitsmith::quant::{QuantizeRequest, Ternary, TernaryConfig};
/// use bitsmith::train::{Finetune, FinetuneConfig, quantize_finetuned};
/// use bitsmith::{Device, progress::Silent};
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path().join("tiny-t");
/// let finetune = Finetune {
///     text: "examples/tiny-llama/calibration.txt".into(),
///     documents: Some("<|endoftext|>".into()),
///     config: FinetuneConfig { steps: 2, batch_size: 1, seq_len: Some(16), ..Default::default() },
/// };
/// let request = QuantizeRequest::new("examples/tiny-llama", &out);
/// let ternary = Ternary::new(TernaryConfig::default());
/// let device = Device::cpu();
/// let done = pollster::block_on(quantize_finetuned(&device, &ternary, &request, &finetune, &mut Silent))?;
/// let record = done.record;
/// assert_eq!((record.layers.len(), record.method.settings["finetune"]["steps"].as_u64()), (28, Some(2)));
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for a method that has no such training, or layers that are to be kept; those of
/// [`train_model`] and of [`quantize_model`].
pub async fn quantize_finetuned(
    device: &Device,
    quantizer: &dyn Quantizer,
    request: &QuantizeRequest,
    finetune: &Finetune,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    let linear = quantizer.in_the_loop()?;
    if !request.skip.is_empty() || request.plan.is_some() {
        return Err(Error::config("skip", "a training quantizes every layer of the blocks; leave it out"));
    }
    let config = finetune.config.training(linear);
    config.check().map_err(named)?;
    if let Some(quality) = &request.quality {
        eval::check(&request.model, quality)?;
    }
    // What lies there stays: whether it is to be gone on with is for the second half to say.
    drop(Staging::resume(&request.out, request.force)?);

    let folder = beside(&request.out, "finetuned");
    let training = TrainRequest {
        name: Some(request.model_name()),
        documents: finetune.documents.clone(),
        force: true,
        resume: request.resume,
        ..TrainRequest::new(&request.model, finetune.text.clone(), &folder, config)
    };
    let record = match finished(&training) {
        Some(record) => record,
        None => train_model(device, &training, progress).await.map_err(named)?.record,
    };
    let mut notes = vec![learned(&record)];
    let mut settings = quantizer.settings();
    settings["finetune"] =
        serde_json::to_value(Recorded { config: &finetune.config, text: &record.text }).unwrap_or_default();
    let deploy = Deploy::new(quantizer.name(), settings, linear, quantizer.scheme());
    let second = QuantizeRequest {
        model: folder.clone(),
        name: Some(request.model_name()),
        reference: Some(request.model.clone()),
        ..request.clone()
    };
    let outcome = quantize_model(device, &deploy, &second, progress).await;
    if !matches!(outcome, Err(Error::Unfinished { .. })) {
        // Whatever may be left of it is replaced by the next run.
        let _ = std::fs::remove_dir_all(&folder);
    }
    let outcome = outcome?;
    notes.extend(outcome.notes);
    Ok(Outcome { notes, ..outcome })
}

/// What `bitsmith.json` holds of it, beside the settings of the method.
#[derive(Serialize)]
struct Recorded<'a> {
    #[serde(flatten)]
    config: &'a FinetuneConfig,
    #[serde(flatten)]
    text: &'a TextFacts,
}

/// A setting under the name that it has beside those of a quantization.
fn named(error: Error) -> Error {
    match error {
        Error::Config { field, detail } if FIELDS.contains(&field.as_str()) => {
            Error::Config { field: format!("finetune_{field}"), detail }
        }
        other => other,
    }
}

/// Those of [`FinetuneConfig`].
const FIELDS: [&str; 5] = ["steps", "batch_size", "seq_len", "lr", "seed"];

fn learned(record: &TrainRecord) -> String {
    let first = record.losses.first().copied().unwrap_or_default();
    let (steps, last) = (record.losses.len(), record.last_loss().unwrap_or_default());
    format!("note: {steps} steps of training took the loss from {first:.4} to {last:.4} nats a token")
}

/// What an earlier run of the same training left when it was finished: newer than the files it was made from.
fn finished(training: &TrainRequest) -> Option<TrainRecord> {
    let record = training.resume.then(|| TrainRecord::read(&training.out).ok()).flatten()?;
    let age = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let made = age(&training.out.join(TrainRecord::FILE))?;
    let model = Checkpoint::open(&training.model).ok()?;
    let weights = model.names().filter_map(|name| model.path_of(name));
    let mut files = weights.chain(training.text.files.iter().map(PathBuf::as_path));
    let same = record.bitsmith == env!("CARGO_PKG_VERSION")
        && record.settings == training.config
        && Some(&record.text) == facts(training).as_ref();
    (same && files.all(|file| age(file).is_some_and(|age| age <= made))).then_some(record)
}

/// Which text it is.
fn facts(training: &TrainRequest) -> Option<TextFacts> {
    let (config, _) = ModelConfig::read(&training.model).ok()?;
    let tokenizer = Tokenizer::read(&training.model, config.vocab_size).ok()?;
    let documents = training.text.documents(training.documents.as_deref(), None).ok()?;
    TokenStream::read(documents, &tokenizer, usize::MAX).ok().map(|(_, facts)| facts)
}
