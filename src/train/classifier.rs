//! Classifiers of images, from a request to their folders.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::TrainConfig;
use super::record::TrainRecord;
use super::run::name_of;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::{CONFIG_FILE, Checkpoint, Idx, Staging, read_limited};
use crate::nn::{AutoBitConfig, AutoBitModel, DeployedModel, Pass, Recipe, Samples, WeightPrecision, accuracy, fit};
use crate::progress::Progress;

/// A larger configuration is refused unread.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Which network to train, on which images, and where to put it.
#[derive(Clone, Debug)]
pub struct ClassifierRequest {
    /// The configuration file of a new network ([`AutoBitConfig`]), or the folder of one to go on from.
    pub model: PathBuf,
    /// Images and labels: idx files, packed by gzip or not.
    pub samples: [PathBuf; 2],
    /// The share of the images, the last of them, that the network does not learn and is scored on.
    pub held_out: f32,
    /// How often each of the others is seen.
    pub epochs: u32,
    /// Folder to make, with the weights that trained in f32.
    pub out: PathBuf,
    /// Second folder to make, with packed weights.
    pub deploy: Option<PathBuf>,
    /// Replace existing folders.
    pub force: bool,
    /// How. The weights are those of the network's configuration where this says float.
    pub config: TrainConfig,
}

/// What a training of a classifier was: the content of its `training.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassifierRecord {
    /// Version of this crate that trained the network.
    pub bitsmith: String,
    /// Name of the configuration or folder that it began from.
    pub model: String,
    /// Whether it began from weights that were drawn.
    pub from_scratch: bool,
    /// The settings.
    pub recipe: Recipe,
    /// What the layers compute with.
    pub layers: String,
    /// Images that it learned.
    pub images: usize,
    /// Images that it is scored on.
    pub held_out: usize,
    /// Numbers of the network.
    pub parameters: usize,
    /// Mean loss of each epoch, in nats an image.
    pub losses: Vec<f64>,
    /// Share of the images held out that it gets right, if there are any.
    pub accuracy: Option<f64>,
    /// The same of the packed network, where one was made.
    pub deployed_accuracy: Option<f64>,
    /// Bytes of the packed weights.
    pub deployed_bytes: Option<usize>,
}

/// Trains a classifier of images and writes it into a new folder, and packed into a second one if that was asked for.
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
/// let request = ClassifierRequest {
///     model: path("mlp.json"),
///     samples: [path("images"), path("labels")],
///     held_out: 0.2,
///     epochs: 40,
///     out: path("latent"),
///     deploy: Some(path("packed")),
///     force: false,
///     config: TrainConfig { weights: "ternary".parse()?, lr: Some(0.02), ..Default::default() },
/// };
/// let device = Device::cpu();
/// let record = pollster::block_on(train_classifier(&device, &request, &mut Silent))?;
/// assert!(record.deployed_accuracy > Some(0.8), "{record:?}");
/// pollster::block_on(DeployedModel::open(&device, &path("packed")))?;
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for settings that do not fit or are for language models, or a loss that is not finite; those of reading,
/// of the device and of writing. Nothing is kept of a training that fails.
pub async fn train_classifier(
    device: &Device,
    request: &ClassifierRequest,
    progress: &mut dyn Progress,
) -> Result<ClassifierRecord> {
    let config = configuration(request)?;
    // Said before the work; the folders are made after it.
    for folder in [Some(&request.out), request.deploy.as_ref()].into_iter().flatten() {
        drop(Staging::create(folder, request.force)?);
    }
    let samples = read_samples(&request.samples, &config)?;
    let (learned, held_out) = split(&samples, request.held_out)?;
    let recipe = request.config.recipe(request.epochs, learned.len())?;
    let stored = request.model.is_dir();
    let model = match stored {
        true => {
            // Says so of a network that is packed.
            drop(AutoBitModel::open(device, &request.model)?);
            AutoBitModel::load(device, &config, &Checkpoint::open(&request.model)?)?
        }
        false => AutoBitModel::from_config(device, &config, recipe.seed)?,
    };
    let losses = fit(&model, &learned, &recipe, progress).await?;
    let mut record = ClassifierRecord {
        bitsmith: env!("CARGO_PKG_VERSION").to_owned(),
        model: name_of(&request.model),
        from_scratch: !stored,
        recipe,
        layers: config.linear().to_string(),
        images: learned.len(),
        held_out: held_out.as_ref().map_or(0, Samples::len),
        parameters: model.parameters().iter().map(|parameter| parameter.elements()).sum(),
        losses,
        accuracy: None,
        deployed_accuracy: None,
        deployed_bytes: None,
    };
    if let Some(samples) = &held_out {
        record.accuracy = Some(accuracy(device, samples, |rec, x| model.forward(rec, x, Pass::Eval)).await?);
    }
    let json = |record: &ClassifierRecord| serde_json::to_vec_pretty(record).unwrap_or_default();
    model.write(&request.out, request.force, Some((TrainRecord::FILE, &json(&record)))).await?;
    if let Some(folder) = &request.deploy {
        let model = model.deploy().await?;
        record.deployed_bytes = Some(model.weight_bytes());
        if let Some(samples) = &held_out {
            record.deployed_accuracy = Some(accuracy(device, samples, |rec, x| model.forward(rec, x)).await?);
        }
        model.write(folder, request.force, Some((TrainRecord::FILE, &json(&record)))).await?;
    }
    Ok(record)
}

/// The share of images that the network of a folder gets right, packed as it is or would be deployed.
///
/// # Errors
/// Those of reading and of the device.
pub async fn score_classifier(device: &Device, folder: &Path, samples: &[PathBuf; 2]) -> Result<(f64, usize)> {
    let model = DeployedModel::open(device, folder).await?;
    let samples = read_samples(samples, &model.config())?;
    Ok((accuracy(device, &samples, |rec, x| model.forward(rec, x)).await?, samples.len()))
}

/// The network of the request, its layers as the settings say if they do.
fn configuration(request: &ClassifierRequest) -> Result<AutoBitConfig> {
    let path = if request.model.is_dir() { request.model.join(CONFIG_FILE) } else { request.model.clone() };
    let wrong = |error: serde_json::Error| Error::format(&path, error.to_string());
    let config: AutoBitConfig = serde_json::from_slice(&read_limited(&path, MAX_CONFIG_BYTES)?).map_err(wrong)?;
    let config = match request.config.weights {
        WeightPrecision::Float => config,
        _ => config.with_linear(request.config.linear()),
    };
    if request.deploy.is_some() && config.linear().weights == WeightPrecision::Float {
        return Err(Error::config("deploy", "float weights are not packed; name others with --weights"));
    }
    // What it takes is written with what it became.
    let normalize = config.normalize().unwrap_or_default();
    Ok(config.with_normalize(normalize))
}

fn read_samples([images, labels]: &[PathBuf; 2], config: &AutoBitConfig) -> Result<Samples> {
    let normalize = config.normalize().unwrap_or_default();
    Samples::from_idx(&Idx::read(images)?, &Idx::read(labels)?, normalize)
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
