//! Classifiers of images, from a request to their folders.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::deploy::apart;
use super::image_learner::ImageLearner;
use super::language_model::name_of;
use super::learner::Learner as _;
use super::parameter::Parameter;
use super::record::{ClassifierRecord, TrainRecord};
use super::request::{ClassifierRequest, TrainedClassifier};
use super::run::Start;
use super::saved::{Data, Fingerprint};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::{CONFIG_FILE, Checkpoint, Checksum, Digest, Idx, Source, SourceFile, Staging, read_limited};
use crate::nn::{
    AutoBitConfig, AutoBitModel, BitLinearConfig, DeployedModel, Pass, Samples, WeightPrecision, accuracy,
};
use crate::progress::Progress;

/// A larger configuration is refused unread.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Trains a classifier of images and writes it into a new folder, and packed into a second one if that was asked for. States
/// are kept as [`train_model`](super::train_model) keeps them.
///
/// ```
/// use bitsmith::train::{ClassifierRequest, TrainConfig, train_classifier};
/// use bitsmith::{Device, Random, nn::DeployedModel, progress::Silent};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = |name: &str| folder.path().join(name);
/// // Images of two pixels, of which one is the lighter.
/// let (pixels, mut random) = (100u32, Random::new(1));
/// let images: Vec<u8> = (0..2 * pixels).map(|_| random.below(256) as u8).collect();
/// let labels = images.chunks(2).map(|image| u8::from(image[0] < image[1]));
/// let idx = |sizes: &[u32], bytes: Vec<u8>| {
///     let head = [0, 0, 8, sizes.len() as u8].into_iter();
///     head.chain(sizes.iter().flat_map(|size| size.to_be_bytes())).chain(bytes).collect::<Vec<u8>>()
/// };
/// std::fs::write(path("labels"), idx(&[pixels], labels.collect())).unwrap();
/// std::fs::write(path("images"), idx(&[pixels, 2], images)).unwrap();
/// std::fs::write(path("mlp.json"), r#"{"model_type": "mlp", "layers": [2, 16, 2], "activation": "relu"}"#).unwrap();
/// let config = TrainConfig { weights: "ternary".parse()?, lr: Some(0.02), ..Default::default() };
/// let request = ClassifierRequest {
///     epochs: 40,
///     deploy: Some(path("packed")),
///     ..ClassifierRequest::new(path("mlp.json"), [path("images"), path("labels")], path("latent"), config)
/// };
/// let device = Device::cpu();
/// let record = pollster::block_on(train_classifier(&device, &request, &mut Silent))?.record;
/// assert!(record.deployed_accuracy > Some(0.8), "{record:?}");
/// pollster::block_on(DeployedModel::open(&device, &path("packed")))?;
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for settings that do not fit or are for language models, or a loss that is not finite; those of reading,
/// of the device and of writing; [`Error::Unfinished`] as [`train_model`](super::train_model).
pub async fn train_classifier(
    device: &Device,
    request: &ClassifierRequest,
    progress: &mut dyn Progress,
) -> Result<TrainedClassifier> {
    let origin = Origin::of(device, request)?;
    if let Some(folder) = &request.deploy {
        apart(&request.out, folder)?;
        // Said before the work; the folder is made after it.
        drop(Staging::create(folder, request.force)?);
    }
    let [images, labels] = &request.samples;
    let read = [Idx::read(images)?, Idx::read(labels)?];
    let samples = Samples::from_idx(&read[0], &read[1], origin.config.normalize().unwrap_or_default())?;
    let (learned, held_out) = split(&samples, request.held_out)?;
    drop(samples);
    let config = request.config.of_classifier(request.epochs, learned.len(), origin.config.linear())?;
    let data = |(path, idx): (&PathBuf, &Idx)| Data { name: path.display().to_string(), content: content(idx) };
    let data = request.samples.iter().zip(&read).map(data).collect();
    let fingerprint = Fingerprint::new(device, &config, origin.identity.clone(), data)
        // They follow from epochs and images.
        .with("steps", Value::Null)
        .with("epochs", request.epochs)
        // With the digits that were typed.
        .with("held_out", request.held_out.to_string().parse::<f64>().unwrap_or_default());

    let start = Start::new(&request.out, request.force, request.resume, fingerprint)?;
    let weights = start.weights().or_else(|| origin.stored.then(|| request.model.clone()));
    let model = match weights {
        Some(weights) => AutoBitModel::load(device, &origin.config, &Checkpoint::open(&weights)?)?,
        None => AutoBitModel::from_config(device, &origin.config, config.seed)?,
    };
    let images = learned.len();
    let mut run = start.run(&config, ImageLearner::new(&config, model, learned))?;
    let seconds = run.go(progress).await?;
    let (resumed, notes) = (run.resumed(), run.notes().to_vec());
    run.learner_mut().settle()?;
    let mut record = ClassifierRecord {
        bitsmith: env!("CARGO_PKG_VERSION").to_owned(),
        model: name_of(&request.model),
        from_scratch: !origin.stored,
        epochs: request.epochs,
        layers: origin.config.linear().to_string(),
        images,
        held_out: held_out.as_ref().map_or(0, Samples::len),
        parameters: run.learner().parameters().iter().map(Parameter::elements).sum(),
        losses: run.losses().to_vec(),
        accuracy: None,
        deployed_accuracy: None,
        deployed_bytes: None,
        settings: config.clone(),
    };
    if let Some(samples) = &held_out {
        let model = run.learner().model();
        record.accuracy = Some(accuracy(device, samples, |rec, x| model.forward(rec, x, Pass::Eval)).await?);
    }
    let filled = run.fill(|folder| {
        origin.config.write(folder)?;
        record.write(folder)
    });
    let (learner, filled) = filled.await?;
    if let Some(folder) = &request.deploy {
        let packed = pack(learner.into_model(), (folder, request.force), held_out.as_ref(), &mut record).await;
        packed.map_err(|cause| filled.unfinished(cause))?;
    }
    filled.commit()?;
    Ok(TrainedClassifier { record, resumed, seconds, notes })
}

/// Writes a network packed into a folder, and records how large it is and what it gets right.
async fn pack(
    model: AutoBitModel,
    (folder, force): (&Path, bool),
    held_out: Option<&Samples>,
    record: &mut ClassifierRecord,
) -> Result<()> {
    let device = model.device().clone();
    let model = model.deploy().await?;
    record.deployed_bytes = Some(model.weight_bytes());
    if let Some(samples) = held_out {
        record.deployed_accuracy = Some(accuracy(&device, samples, |rec, x| model.forward(rec, x)).await?);
    }
    model.write(folder, force, Some((TrainRecord::FILE, record.text().as_bytes()))).await
}

/// The share of images that the network of a folder gets right, packed as it is or would be deployed.
///
/// # Errors
/// Those of reading and of the device.
pub async fn score_classifier(device: &Device, folder: &Path, [images, labels]: &[PathBuf; 2]) -> Result<(f64, usize)> {
    let model = DeployedModel::open(device, folder).await?;
    let normalize = model.config().normalize().unwrap_or_default();
    let samples = Samples::from_idx(&Idx::read(images)?, &Idx::read(labels)?, normalize)?;
    Ok((accuracy(device, &samples, |rec, x| model.forward(rec, x)).await?, samples.len()))
}

/// What a training begins from.
struct Origin {
    /// The network, its layers as the settings say if they do.
    config: AutoBitConfig,
    /// Whether there are weights.
    stored: bool,
    /// Of the configuration, and the weights if there are any.
    identity: (Digest, Vec<SourceFile>),
}

impl Origin {
    fn of(device: &Device, request: &ClassifierRequest) -> Result<Self> {
        let stored = request.model.is_dir();
        let path = if stored { request.model.join(CONFIG_FILE) } else { request.model.clone() };
        let bytes = read_limited(&path, MAX_CONFIG_BYTES)?;
        let wrong = |error: serde_json::Error| Error::format(&path, error.to_string());
        let config: AutoBitConfig = serde_json::from_slice(&bytes).map_err(wrong)?;
        let own = config.linear();
        let config = match request.config.weights() {
            WeightPrecision::Float if request.config.progressive.0.is_empty() => config,
            _ => config.with_linear(BitLinearConfig { bias: own.bias, ..request.config.linear() }),
        };
        if request.deploy.is_some() && config.linear().weights == WeightPrecision::Float {
            return Err(Error::config("deploy", "float weights are not packed; name others with --weights"));
        }
        let mut files = Vec::new();
        if stored {
            // Says so of a network that is packed.
            drop(AutoBitModel::open(device, &request.model)?);
            files = Source::of(&Checkpoint::open(&request.model)?)?.files();
        }
        // What it takes is written with what it became.
        let normalize = config.normalize().unwrap_or_default();
        Ok(Self { config: config.with_normalize(normalize), stored, identity: (Checksum::of(&bytes), files) })
    }
}

/// Of shape and bytes.
fn content(idx: &Idx) -> Digest {
    let mut checksum = Checksum::default();
    idx.shape().iter().for_each(|extent| checksum.update(&(*extent as u64).to_le_bytes()));
    checksum.update(idx.bytes());
    checksum.finish()
}

/// Those to learn, and those held out.
fn split(samples: &Samples, share: f32) -> Result<(Samples, Option<Samples>)> {
    if !(0.0..1.0).contains(&share) {
        return Err(Error::config("held_out", format!("{share} is no share from 0 to below 1")));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the images")]
    let held_out = (f64::from(share) * samples.len() as f64).round() as usize;
    let first = samples.len() - held_out;
    if first == 0 {
        return Err(Error::config("held_out", format!("{share} of {} images leaves none to learn", samples.len())));
    }
    let rest = (held_out > 0).then(|| samples.part(first..samples.len())).transpose()?;
    Ok((samples.part(0..first)?, rest))
}
