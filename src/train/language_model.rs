//! Language models, from a request to their folders.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::batches::Batches;
use super::config::TrainConfig;
use super::deploy::{Deploy, apart};
use super::learner::Learner as _;
use super::parameter::Parameter;
use super::record::TrainRecord;
use super::request::{TrainRequest, Trained};
use super::run::Start;
use super::saved::{Data, Fingerprint};
use super::text_learner::TextLearner;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::{
    CONFIG_FILE, Checkpoint, Checksum, ModelConfig, Source, SourceFile, Staging, TextSource, TokenStream, Tokenizer,
    read_config, read_limited,
};
use crate::model::{InitialValues, Model};
use crate::progress::Progress;
use crate::quant::{QuantizeRequest, Quantizer, copy_companions, quantize_model};

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
    let batches = Batches::new(stream.ids().to_vec(), seq_len, request.config.seed)?;

    let start = Start::new(&request.out, request.force, request.resume, origin.fingerprint(device, request, &stream))?;
    let values = start.weights().map_or_else(|| origin.values(request.config.seed), InitialValues::Stored);
    let model = Model::trainable(&origin.config, values, device)?;
    let mut run = start.run(&request.config, TextLearner::new(&request.config, model, batches, seq_len)?)?;
    let seconds = run.go(progress).await?;
    let (resumed, mut notes) = (run.resumed(), run.notes().to_vec());
    let record = TrainRecord {
        bitsmith: env!("CARGO_PKG_VERSION").to_owned(),
        model: request.name.clone().unwrap_or_else(|| name_of(&request.model)),
        from_scratch: origin.files.is_none(),
        settings: request.config.clone(),
        text,
        seq_len,
        parameters: run.learner().parameters().iter().map(Parameter::elements).sum(),
        tokens: u64::from(request.config.steps)
            * (request.config.batch_size * request.config.accumulate * seq_len) as u64,
        losses: run.losses().to_vec(),
    };
    let (learner, filled) = run.fill(|folder| origin.complete(folder, &record)).await?;
    let paths = learner.linear_paths();
    // Its memory is not needed to pack.
    drop(learner);
    let deployed = match &deploy {
        Some((deploy, folder)) => {
            let plan = paths.iter().map(|path| (path.as_str(), deploy.scheme())).collect();
            let packed = QuantizeRequest {
                plan: Some(plan),
                force: request.force,
                name: Some(request.name.clone().unwrap_or_else(|| name_of(&request.out))),
                ..QuantizeRequest::new(filled.path(), folder)
            };
            let packed = quantize_model(device, deploy, &packed, progress).await;
            Some(packed.map_err(|cause| filled.unfinished(cause))?)
        }
        None => None,
    };
    // After it is packed, so that whoever resumes finds either all of it or its state.
    filled.commit()?;
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
    apart(&request.out, folder)?;
    // Said before the work; the folder is made after it.
    drop(Staging::create(folder, request.force)?);
    Ok(Some((deploy, folder.clone())))
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

    fn fingerprint(&self, device: &Device, request: &TrainRequest, stream: &TokenStream) -> Fingerprint {
        let mut tokens = Checksum::default();
        stream.ids().iter().for_each(|id| tokens.update(&id.to_le_bytes()));
        let data = Data { name: "the text".to_owned(), content: tokens.finish() };
        let model = (Checksum::of(&self.bytes), self.files.clone().unwrap_or_default());
        Fingerprint::new(device, &request.config, model, vec![data])
    }

    /// Writes all that makes a model folder beside the weights.
    fn complete(&self, folder: &Path, record: &TrainRecord) -> Result<()> {
        copy_companions(&self.folder, folder)?;
        let path = folder.join(CONFIG_FILE);
        std::fs::write(&path, &self.bytes).map_err(|e| Error::io(&path, e))?;
        let mut config = read_config(folder)?;
        for field in
            ["dtype", "torch_dtype"].into_iter().filter(|field| config.get(field).is_some()).collect::<Vec<_>>()
        {
            config[field] = Value::from("float32");
        }
        let text = serde_json::to_string_pretty(&config).map_err(|e| Error::format(&path, e.to_string()))?;
        std::fs::write(&path, text + "\n").map_err(|e| Error::io(&path, e))?;
        record.write(folder)
    }
}
