//! `bitsmith eval`.

use bitsmith::eval::{EvalRequest, evaluate_folders};
use bitsmith::op::ActivationPrecision;
use bitsmith::train::score_classifier;
use bitsmith::{Error, Result, report};
use clap::Args;
use serde::Serialize;

use super::bar::Bar;
use super::device::DeviceArg;
use super::images::ImageArgs;
use super::model::{HubArgs, ModelArg};
use super::room::RoomArgs;
use super::text::{Cut, TEXTS, TextArg};
use super::{Json, interrupt, stdout};

/// Measure how well a model predicts a text, and how far it is from another model
///
/// Perplexity is exp(total negative log-likelihood / tokens scored) over consecutive windows; the first token of a
/// window is context only and an incomplete last window is dropped. With --reference, the divergence
/// KL(reference || model) of each token's prediction is measured, in nats. Only results for the same text, window,
/// stride and number of tokens can be compared.
///
/// With --images and --labels, the model is a classifier that `bitsmith train` made, and its accuracy is measured.
///
/// With --activations int8 and no --reference, the model is compared with itself with exact activations: what int8 costs.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct Eval {
    /// The model, quantized or not: a folder, a GGUF file, or a name on the hub
    model: ModelArg,
    /// Text to predict: a file (plain text, or rows in .jsonl or .parquet), or a dataset on the hub such as wikitext-2
    #[arg(long, value_name = "FILE|NAME", group = TEXTS, required_unless_present = "images")]
    text: Option<TextArg>,
    /// The model to compare with, usually the one that MODEL was made from: a folder, or a name on the hub
    #[arg(long, value_name = "MODEL")]
    reference: Option<ModelArg>,
    /// Activations that enter quantized layers: exact (f32), int8 (rounded), or auto: as the model was made for
    #[arg(long, value_name = "PRECISION", default_value_t = ActivationPrecision::default())]
    activations: ActivationPrecision,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    room: RoomArgs,
    #[command(flatten)]
    output: Json,
    /// No progress
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    cut: Cut,
    #[command(flatten)]
    images: ImageArgs,
}

/// The accuracy of a classifier.
#[derive(Serialize)]
struct Score {
    accuracy: f64,
    images: usize,
}

const EXAMPLE: &str = "\
Example:
  bitsmith eval examples/tiny-llama --text examples/tiny-llama/validation.txt \\
    --documents '<|endoftext|>' --window 256";

impl Eval {
    pub(super) async fn run(&self) -> Result<()> {
        let Some(text) = &self.text else { return self.classifier().await };
        let request = EvalRequest {
            activations: self.activations,
            room: self.room.room(),
            ..self.cut.request(text, &self.hub, self.quiet)?
        };
        let model = self.model.find(&self.hub, self.quiet)?;
        let reference = self.reference.as_ref().map(|model| model.find(&self.hub, self.quiet)).transpose()?;
        let reference = reference.as_ref().map(|model| model.path.as_path());
        let device = self.device.open().await?;
        interrupt::listen();
        let evaluation = evaluate_folders(&device, &model.path, reference, &request, &mut Bar::new(self.quiet)).await?;
        if self.output.json {
            return stdout::json(&evaluation);
        }
        stdout::text(&report::evaluation(&evaluation))
    }

    /// Scores a network on images.
    async fn classifier(&self) -> Result<()> {
        let Some(files) = self.images.files() else { return Err(Error::config("images", "give images or a text")) };
        let model = self.model.find(&self.hub, self.quiet)?;
        let device = self.device.open().await?;
        let (accuracy, images) = score_classifier(&device, &model.path, &files).await?;
        if self.output.json {
            return stdout::json(&Score { accuracy, images });
        }
        stdout::text(&format!("accuracy              {:.2} % of {images} images\n", 100.0 * accuracy))
    }
}
