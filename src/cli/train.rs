//! `bitsmith train`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bitsmith::hub::Split;
use bitsmith::report::html::{self, ReportFile};
use bitsmith::train::{ClassifierRequest, TrainConfig, TrainRequest, train_classifier, train_model};
use bitsmith::{Error, Result, report};
use clap::Args;
use serde::Serialize;

use super::images::ImageArgs;
use super::model::ModelArg;
use super::run::{RunArgs, written};
use super::text::{DocumentArgs, TEXTS, TextArg};

/// Train a language model on a text, or a classifier on images, in float or with quantization in the loop
///
/// A language model is trained from scratch or from a checkpoint with --text, a perceptron or a small convolutional network
/// with --images and --labels; CONFIG tells which by its `model_type`: that of the language model, or mlp or cnn.
///
/// All parameters train. With --weights, the linear layers of the blocks compute with weights as they come back from
/// quantization; embeddings, norms and head stay float. The new folder holds the weights that trained, in f32; --deploy makes
/// a second one with packed weights, which predicts as the training did.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE, mut_arg("report", |arg| arg.help(PAGE)))]
// Those of a text; for images, steps follow from the epochs.
#[command(mut_arg("steps", |arg| arg.conflicts_with("images")), mut_arg("seq_len", |arg| arg.conflicts_with("images")))]
pub(super) struct Train {
    /// The configuration file of a new model, with its tokenizer beside it; or a model to go on from: a folder, or a name on
    /// the hub
    #[arg(value_name = "CONFIG|MODEL")]
    model: ModelArg,
    /// Text to learn: a file (plain text, or rows in .jsonl or .parquet), or a dataset on the hub
    #[arg(long, value_name = "FILE|NAME", group = TEXTS, required_unless_present = "images")]
    text: Option<TextArg>,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Second folder to make, with packed weights
    #[arg(long, value_name = "DIR")]
    deploy: Option<PathBuf>,
    /// Replace folders that are there
    #[arg(long)]
    force: bool,
    /// Go on with what a run left unfinished that was killed, stopped or failed; model, text or images, and settings must be
    /// those of that run
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    config: TrainConfig,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    documents: DocumentArgs,
    #[command(flatten)]
    images: ImageArgs,
    /// How often each image is seen
    #[arg(long, value_name = "N", requires = "images", default_value_t = 10, help_heading = "Images")]
    epochs: u32,
    /// Share of the images, the last of them, that is not learned but scored
    #[arg(long, value_name = "SHARE", requires = "images", default_value_t = 0.2, help_heading = "Images")]
    held_out: f32,
}

/// What `--report` makes.
const PAGE: &str = "Write a page about the run, to be opened in a browser, with the loss as a picture; an earlier page of \
    that name is replaced";

const EXAMPLE: &str = "\
Example:
  bitsmith train examples/tiny-llama/config.json --out tiny-ternary --deploy tiny-packed --weights ternary \\
    --activations int8 --text examples/tiny-llama/calibration.txt --documents '<|endoftext|>' --seq-len 64 --steps 50
  bitsmith train mlp.json --out digits --deploy digits-packed --weights ternary --activations int8 \\
    --images t10k-images-idx3-ubyte.gz --labels t10k-labels-idx1-ubyte.gz --batch-size 64 --lr 0.01 --epochs 20
  with mlp.json: {\"model_type\": \"mlp\", \"layers\": [784, 256, 10], \"activation\": \"relu\", \"dropout\": 0.1}";

/// The content of `training.json` and what is not for the file.
#[derive(Serialize)]
struct Output<'a, R> {
    #[serde(flatten)]
    record: &'a R,
    last_loss: Option<f64>,
    notes: &'a [String],
    out: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    deploy: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a Path>,
    resumed: u32,
    seconds: f64,
    device: &'a str,
}

impl Train {
    pub(super) async fn run(&self) -> Result<()> {
        let folders = [Some(("out", self.out.as_path())), self.deploy.as_deref().map(|folder| ("deploy", folder))];
        let page = self.run.page(&folders.into_iter().flatten().collect::<Vec<_>>())?;
        match (&self.text, self.images.files()) {
            (Some(text), _) => self.language_model(text, page).await,
            (None, Some(samples)) => self.classifier(samples, page).await,
            (None, None) => Err(Error::config("images", "give images or a text")),
        }
    }

    /// Trains on a text.
    async fn language_model(&self, text: &TextArg, page: Option<ReportFile>) -> Result<()> {
        self.config.check()?;
        let (hub, quiet) = (&self.run.hub, self.run.quiet);
        let model = self.model.find(hub, quiet)?;
        let text = self.documents.find(text, "text", Split::Train, hub, quiet)?;
        let request = TrainRequest {
            name: model.id.map(|id| id.to_string()),
            documents: self.documents.separator().map(str::to_owned),
            max_documents: self.documents.max_documents(),
            deploy: self.deploy.clone(),
            force: self.force,
            resume: self.resume,
            ..TrainRequest::new(model.path, text, &self.out, self.config.clone())
        };
        let device = self.run.open().await?;
        let start = Instant::now();
        let trained = train_model(&device, &request, &mut self.run.bar()).await?;
        let page = self.run.report(page, (&device, start), |facts| html::training(&trained, facts));
        let output = Output {
            record: &trained.record,
            last_loss: trained.record.last_loss(),
            notes: &trained.notes,
            out: &self.out,
            deploy: self.deploy.as_deref(),
            report: page.path,
            resumed: trained.resumed,
            seconds: trained.seconds,
            device: &device.caps().name,
        };
        self.print(&output, || report::training(&trained))?;
        page.result
    }

    /// Trains on images.
    async fn classifier(&self, samples: [PathBuf; 2], page: Option<ReportFile>) -> Result<()> {
        let model = self.model.find(&self.run.hub, self.run.quiet)?.path;
        let request = ClassifierRequest {
            held_out: self.held_out,
            epochs: self.epochs,
            deploy: self.deploy.clone(),
            force: self.force,
            resume: self.resume,
            ..ClassifierRequest::new(model, samples, &self.out, self.config.clone())
        };
        let device = self.run.open().await?;
        let start = Instant::now();
        let trained = train_classifier(&device, &request, &mut self.run.bar()).await?;
        let page = self.run.report(page, (&device, start), |facts| html::classifier(&trained, facts));
        let output = Output {
            record: &trained.record,
            last_loss: trained.record.last_loss(),
            notes: &trained.notes,
            out: &self.out,
            deploy: self.deploy.as_deref(),
            report: page.path,
            resumed: trained.resumed,
            seconds: trained.seconds,
            device: &device.caps().name,
        };
        self.print(&output, || report::classifier(&trained))?;
        page.result
    }

    fn print(&self, output: &Output<'_, impl Serialize>, summary: impl FnOnce() -> String) -> Result<()> {
        let before = (output.resumed > 0).then(|| format!("{} steps were taken", output.resumed));
        self.run.print(output, (before, output.notes), || {
            let files = [("written to", Some(output.out)), ("packed in", output.deploy), ("report in", output.report)];
            summary() + &written(&files)
        })
    }
}
