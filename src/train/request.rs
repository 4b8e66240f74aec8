//! What to train, and what came of it.

use std::path::PathBuf;

use super::config::TrainConfig;
use super::record::{ClassifierRecord, TrainRecord};
use crate::io::TextSource;
use crate::quant::Outcome;

/// What to train, on what, and where to put it.
#[derive(Clone, Debug)]
pub struct TrainRequest {
    /// A model folder to go on from, or the configuration file of a new model, with its tokenizer beside it.
    pub model: PathBuf,
    /// What the record calls the model; without a name it is called like its folder or file.
    pub name: Option<String>,
    /// The text to learn.
    pub text: TextSource,
    /// Split plain text at this separator into documents.
    pub documents: Option<String>,
    /// Use only this many documents.
    pub max_documents: Option<usize>,
    /// Folder to make, with the weights that trained in f32.
    pub out: PathBuf,
    /// Second folder to make, with packed weights.
    pub deploy: Option<PathBuf>,
    /// Replace existing model folders.
    pub force: bool,
    /// Go on with what a run left unfinished in the same place; it must have had the same model, text and settings.
    pub resume: bool,
    /// How.
    pub config: TrainConfig,
}

impl TrainRequest {
    /// A request for one folder; the text is one document.
    pub fn new(
        model: impl Into<PathBuf>,
        text: impl Into<TextSource>,
        out: impl Into<PathBuf>,
        config: TrainConfig,
    ) -> Self {
        Self {
            model: model.into(),
            name: None,
            text: text.into(),
            documents: None,
            max_documents: None,
            out: out.into(),
            deploy: None,
            force: false,
            resume: false,
            config,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Trained {
    /// What was done, as `training.json` holds it.
    pub record: TrainRecord,
    /// The packed model, where one was asked for.
    pub deployed: Option<Outcome>,
    /// Steps that an earlier run had taken already.
    pub resumed: u32,
    /// Wall time of the steps of this run.
    pub seconds: f64,
    /// Things a user should know, one a line.
    pub notes: Vec<String>,
}

/// Which network to train, on which images, and where to put it.
#[derive(Clone, Debug)]
pub struct ClassifierRequest {
    /// The configuration file of a new network ([`AutoBitConfig`](crate::nn::AutoBitConfig)), or the folder of one to go on
    /// from.
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
    /// Go on with what a run left unfinished in the same place; it must have had the same network, images and settings.
    pub resume: bool,
    /// How. Steps follow from the epochs, and the weights are those of the network's configuration where this says float.
    pub config: TrainConfig,
}

impl ClassifierRequest {
    /// A request for one folder: ten epochs of four fifths of the images, scored on the others.
    pub fn new(
        model: impl Into<PathBuf>,
        [images, labels]: [impl Into<PathBuf>; 2],
        out: impl Into<PathBuf>,
        config: TrainConfig,
    ) -> Self {
        Self {
            model: model.into(),
            samples: [images.into(), labels.into()],
            held_out: 0.2,
            epochs: 10,
            out: out.into(),
            deploy: None,
            force: false,
            resume: false,
            config,
        }
    }
}

/// What came of the training of a classifier.
#[derive(Clone, Debug)]
pub struct TrainedClassifier {
    /// What was done, as `training.json` holds it.
    pub record: ClassifierRecord,
    /// Steps that an earlier run had taken already.
    pub resumed: u32,
    /// Wall time of the steps of this run.
    pub seconds: f64,
    /// Things a user should know, one a line.
    pub notes: Vec<String>,
}
