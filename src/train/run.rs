//! A training from its request to its folders.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use super::batches::Batches;
use super::config::TrainConfig;
use super::deploy::Deploy;
use super::folder;
use super::record::TrainRecord;
use super::request::{TrainRequest, Trained};
use super::saved::{Fingerprint, State};
use super::trainer::Trainer;
use crate::device::{Buffer, Device};
use crate::error::{Error, Result};
use crate::io::{
    CONFIG_FILE, Checkpoint, Checksum, ModelConfig, SINGLE_FILE, Source, SourceFile, Staging, TextSource, TokenStream,
    Tokenizer, read_config, read_limited,
};
use crate::model::{InitialValues, Model};
use crate::progress::Progress;
use crate::quant::{QuantizeRequest, Quantizer, copy_companions, identity, quantize_model};

/// Steps whose losses wait on the device: reading them waits for the steps.
const UNREAD: usize = 10;
/// A larger configuration is refused unread.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Trains a model and writes it into a new folder, which appears under its name only when it is complete. States are kept
/// beside it as they come, for [`TrainRequest::resume`]; a training that goes on from one gives the same bytes as one that
/// was never stopped, on the same device.
///
/// # Errors
/// [`Error::Config`] for settings, text or model that do not fit, or a loss that is not finite; those of reading, of the
/// device and of writing; [`Error::Unfinished`], with steps in place of tensors, where the same request may succeed later and
/// a state is saved.
pub async fn train_model(device: &Device, request: &TrainRequest, progress: &mut dyn Progress) -> Result<Trained> {
    request.config.check()?;
    let deploy = deployment(request)?;
    let origin = Origin::of(&request.model)?;
    let tokenizer = Tokenizer::read(&origin.folder, origin.vocab_size)?;
    let seq_len = request.config.tokens(origin.context)?;
    let documents = request.text.documents(request.documents.as_deref(), request.max_documents)?;
    let (stream, text) = TokenStream::read(documents, &tokenizer, usize::MAX)?;
    let fingerprint = origin.fingerprint(device, &request.config, &stream)?;
    let batches = Batches::new(stream.ids().to_vec(), seq_len, request.config.seed)?;

    let open = if request.resume { Staging::resume } else { Staging::create };
    let mut staging = open(&request.out, request.force)?;
    let mut notes = staging.notes().to_vec();
    let state = State::find(&staging, &fingerprint)?;
    let resumed = state.as_ref().map_or(0, |state| state.steps);
    let values = match &state {
        Some(state) => InitialValues::Stored(state.path(&staging)),
        None => origin.values(request.config.seed),
    };
    let model = Model::trainable(&origin.config, values, device)?;
    let moments = state.as_ref().map(|state| state.moments(&staging, device, model.1.len())).transpose()?;
    let parameters = model.1.iter().map(|p| p.values.rows * p.values.cols).sum();
    let mut run = Run {
        trainer: Trainer::new(&request.config, model, batches, seq_len, moments)?,
        config: &request.config,
        fingerprint,
        losses: state.as_ref().map(|state| state.losses.clone()).unwrap_or_default(),
        unread: Vec::new(),
        state,
    };
    let start = Instant::now();
    let trained = run.go(&mut staging, progress).await;
    let unfinished = |state: Option<&State>, staging: &Staging, cause: Error| match state {
        Some(state) if may_pass(&cause) => Error::Unfinished {
            cause: Box::new(cause),
            unit: "steps",
            finished: state.steps as usize,
            total: request.config.steps as usize,
            folder: staging.partial().to_path_buf(),
        },
        _ => cause,
    };
    trained.map_err(|cause| unfinished(run.state.as_ref(), &staging, cause))?;
    let seconds = start.elapsed().as_secs_f64();
    let record = TrainRecord {
        bitsmith: env!("CARGO_PKG_VERSION").to_owned(),
        model: request.name.clone().unwrap_or_else(|| name_of(&request.model)),
        from_scratch: origin.files.is_none(),
        settings: request.config.clone(),
        text,
        seq_len,
        parameters,
        tokens: u64::from(request.config.steps)
            * (request.config.batch_size * request.config.accumulate * seq_len) as u64,
        losses: std::mem::take(&mut run.losses),
    };
    complete(&run.trainer, &origin, &staging, &record)
        .await
        .map_err(|e| unfinished(run.state.as_ref(), &staging, e))?;
    let paths = run.trainer.linear_paths();
    // The memory of moments is not needed to pack.
    drop(run);
    staging.commit()?;
    let deployed = match &deploy {
        Some((deploy, folder)) => {
            let plan = paths.iter().map(|path| (path.as_str(), deploy.scheme())).collect();
            let packed = QuantizeRequest {
                plan: Some(plan),
                force: request.force,
                name: request.name.clone(),
                ..QuantizeRequest::new(&request.out, folder)
            };
            Some(quantize_model(device, deploy, &packed, progress).await?)
        }
        None => None,
    };
    notes.extend(deployed.iter().flat_map(|outcome| outcome.notes.clone()));
    Ok(Trained { record, deployed, resumed, seconds, notes })
}

/// Trains the model of a folder further, usually with quantization in the loop, on a text whose documents a separator tells
/// apart, and writes it to the folder `out`.
///
/// # Errors
/// As [`train_model`].
pub async fn finetune(
    device: &Device,
    model: &Path,
    (text, documents): (&TextSource, Option<&str>),
    out: &Path,
    config: TrainConfig,
    progress: &mut dyn Progress,
) -> Result<Trained> {
    let documents = documents.map(str::to_owned);
    let request = TrainRequest { documents, ..TrainRequest::new(model, text.clone(), out, config) };
    train_model(device, &request, progress).await
}

/// How the result is packed, and where to, if it is.
fn deployment(request: &TrainRequest) -> Result<Option<(Deploy, PathBuf)>> {
    let Some(folder) = &request.deploy else { return Ok(None) };
    let Some(deploy) = Deploy::of(&request.config) else {
        return Err(Error::config("deploy", "float weights are not packed; name others with --weights"));
    };
    // Said before the work; the folder is made after it.
    drop(Staging::create(folder, request.force)?);
    Ok(Some((deploy, folder.clone())))
}

/// Whether the same request may succeed at another time.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Io { .. } | Error::Cancelled | Error::Device { .. } | Error::Limit { .. })
}

pub(super) fn name_of(model: &Path) -> String {
    let whole = model.canonicalize().ok();
    whole.as_deref().unwrap_or(model).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a training begins from.
struct Origin {
    config: PathBuf,
    /// Where configuration and tokenizer lie.
    folder: PathBuf,
    /// The weights; none for a new model.
    files: Option<Vec<SourceFile>>,
    /// Of the configuration.
    bytes: Vec<u8>,
    vocab_size: usize,
    context: usize,
}

impl Origin {
    fn of(model: &Path) -> Result<Self> {
        if model.extension().is_some_and(|extension| extension == "safetensors") {
            return Err(Error::format(
                model,
                "weights alone cannot train; give the folder with config.json and tokenizer",
            ));
        }
        let stored = model.is_dir();
        let config = if stored { model.join(CONFIG_FILE) } else { model.to_path_buf() };
        let bytes = read_limited(&config, MAX_CONFIG_BYTES)?;
        let (own, _) = ModelConfig::parse(&config, &String::from_utf8_lossy(&bytes))?;
        let files = if stored { Some(Source::of(&Checkpoint::open(model)?)?.files()) } else { None };
        let folder = match config.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        Ok(Self { folder, files, bytes, vocab_size: own.vocab_size, context: own.context(), config })
    }

    fn values(&self, seed: u32) -> InitialValues {
        match &self.files {
            Some(_) => InitialValues::Stored(self.folder.clone()),
            None => InitialValues::Drawn { seed },
        }
    }

    fn fingerprint(&self, device: &Device, config: &TrainConfig, stream: &TokenStream) -> Result<Fingerprint> {
        let mut settings = serde_json::to_value(config).map_err(|e| Error::format(&self.config, e.to_string()))?;
        // How often a state is saved changes nothing.
        settings.as_object_mut().map(|fields| fields.remove("checkpoint_every"));
        let mut tokens = Checksum::default();
        stream.ids().iter().for_each(|id| tokens.update(&id.to_le_bytes()));
        Ok(Fingerprint {
            bitsmith: env!("CARGO_PKG_VERSION").to_owned(),
            device: identity(device),
            settings,
            config: Checksum::of(&self.bytes),
            files: self.files.clone().unwrap_or_default(),
            tokens: tokens.finish(),
        })
    }
}

/// A training at work.
struct Run<'a> {
    trainer: Trainer<'a>,
    config: &'a TrainConfig,
    fingerprint: Fingerprint,
    /// Of each step that was read.
    losses: Vec<f64>,
    /// Losses of tokens that are on the device, by step.
    unread: Vec<Vec<Buffer>>,
    /// What is saved.
    state: Option<State>,
}

impl Run<'_> {
    /// Takes the steps that are left.
    async fn go(&mut self, staging: &mut Staging, progress: &mut dyn Progress) -> Result<()> {
        let first = u32::try_from(self.losses.len()).unwrap_or(u32::MAX);
        progress.begin("training", self.config.steps.into());
        progress.advance(first.into(), "");
        for step in first..self.config.steps {
            if progress.cancelled() {
                self.save(staging).await?;
                return Err(Error::Cancelled);
            }
            self.unread.push(self.trainer.step(step)?);
            let done = step + 1;
            let due = self.config.checkpoint_every > 0 && done.is_multiple_of(self.config.checkpoint_every);
            if self.unread.len() >= UNREAD || due || done == self.config.steps {
                self.read().await?;
            }
            if due && done < self.config.steps {
                self.save(staging).await?;
            }
            let note = self.losses.last().map(|loss| format!("loss {loss:.4}")).unwrap_or_default();
            progress.advance(1, &note);
        }
        progress.end();
        Ok(())
    }

    /// Reads the losses that wait.
    async fn read(&mut self) -> Result<()> {
        let buffers: Vec<&Buffer> = self.unread.iter().flatten().collect();
        let read = self.trainer.device().read_all(&buffers).await?;
        for parts in read.chunks(self.config.accumulate) {
            let values = parts.iter().flat_map(|bytes| bytes.as_chunks().0);
            let (sum, count) = values
                .fold((0.0, 0u32), |(sum, count), bytes| (sum + f64::from(f32::from_le_bytes(*bytes)), count + 1));
            let loss = sum / f64::from(count.max(1));
            if !loss.is_finite() {
                let detail = format!("the loss is {loss} at step {}; take shorter steps", self.losses.len() + 1);
                return Err(Error::config("lr", detail));
            }
            self.losses.push(loss);
        }
        self.unread.clear();
        Ok(())
    }

    /// Saves the state, unless it is saved.
    async fn save(&mut self, staging: &mut Staging) -> Result<()> {
        self.read().await?;
        if self.losses.is_empty() || self.state.as_ref().is_some_and(|state| state.losses.len() == self.losses.len()) {
            return Ok(());
        }
        let before = self.state.as_ref();
        self.state = Some(State::save(staging, &self.fingerprint, &self.trainer, &self.losses, before).await?);
        Ok(())
    }
}

/// Writes all that makes a model folder.
async fn complete(trainer: &Trainer<'_>, origin: &Origin, staging: &Staging, record: &TrainRecord) -> Result<()> {
    let folder = staging.path();
    copy_companions(&origin.folder, folder)?;
    let path = folder.join(SINGLE_FILE);
    if path.exists() {
        // A run was killed between this file and the folder's name.
        std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
    }
    folder::write(trainer.device(), &path, trainer.parameters(), &[]).await?;
    let path = folder.join(CONFIG_FILE);
    std::fs::write(&path, &origin.bytes).map_err(|e| Error::io(&path, e))?;
    let mut config = read_config(folder)?;
    for field in ["dtype", "torch_dtype"].into_iter().filter(|field| config.get(field).is_some()).collect::<Vec<_>>() {
        config[field] = Value::from("float32");
    }
    let text = serde_json::to_string_pretty(&config).map_err(|e| Error::format(&path, e.to_string()))?;
    std::fs::write(&path, text + "\n").map_err(|e| Error::io(&path, e))?;
    record.write(folder)?;
    State::remove_all(staging)
}
