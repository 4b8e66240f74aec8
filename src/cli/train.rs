//! `bitsmith train`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bitsmith::hub::Split;
use bitsmith::report::html::{self, ReportFile, RunFacts};
use bitsmith::train::{TrainConfig, TrainRecord, TrainRequest, Trained, train_model};
use bitsmith::{Error, Result, report};
use clap::Args;
use serde::Serialize;

use super::bar::Bar;
use super::device::DeviceArg;
use super::model::{HubArgs, ModelArg};
use super::text::{DocumentArgs, TEXTS, TextArg};
use super::{Json, interrupt, stderr, stdout};

/// Train a language model on a text, from scratch or from a checkpoint, in float or with quantization in the loop
///
/// All parameters train. With --weights, the linear layers of the blocks compute with weights as they come back from
/// quantization; embeddings, norms and head stay float. The new folder holds the weights that trained, in f32; --deploy makes
/// a second one with packed weights, which predicts as the training did.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct Train {
    /// The configuration file of a new model, with its tokenizer beside it; or a model to go on from: a folder, or a name on
    /// the hub
    #[arg(value_name = "CONFIG|MODEL")]
    model: ModelArg,
    /// Text to learn: a file (plain text, or rows in .jsonl or .parquet), or a dataset on the hub
    #[arg(long, value_name = "FILE|NAME", group = TEXTS)]
    text: TextArg,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Second folder to make, with packed weights
    #[arg(long, value_name = "DIR")]
    deploy: Option<PathBuf>,
    /// Replace folders that are there
    #[arg(long)]
    force: bool,
    /// Go on with what a run left unfinished that was killed, stopped or failed; model, text and settings must be those of
    /// that run
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    config: TrainConfig,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    output: Json,
    #[command(flatten)]
    hub: HubArgs,
    /// No progress and no summary: warnings and errors only
    #[arg(long)]
    quiet: bool,
    /// Write a page about the run, to be opened in a browser, with the loss as a picture; an earlier page of that name is
    /// replaced
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    documents: DocumentArgs,
}

const EXAMPLE: &str = "\
Example:
  bitsmith train examples/tiny-llama/config.json --out tiny-ternary --deploy tiny-packed --weights ternary \\
    --activations int8 --text examples/tiny-llama/calibration.txt --documents '<|endoftext|>' --seq-len 64 --steps 50";

/// The content of `training.json` and what is not for the file.
#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    record: &'a TrainRecord,
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
        self.config.check()?;
        let report = self.report_file()?;
        let model = self.model.find(&self.hub, self.quiet)?;
        let text = self.documents.find(&self.text, "text", Split::Train, &self.hub, self.quiet)?;
        let request = TrainRequest {
            name: model.id.map(|id| id.to_string()),
            documents: self.documents.separator().map(str::to_owned),
            max_documents: self.documents.max_documents(),
            deploy: self.deploy.clone(),
            force: self.force,
            resume: self.resume,
            ..TrainRequest::new(model.path, text, &self.out, self.config.clone())
        };
        let device = self.device.open().await?;
        interrupt::listen();
        let start = Instant::now();
        let trained = train_model(&device, &request, &mut Bar::new(self.quiet)).await?;
        // Before anything is printed, which may fail; and its own failure is told of last: the model is there.
        let reported = report.map(|file| {
            let typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
            file.write(&html::training(&trained, &RunFacts::new(&device, start).command(typed)))
        });
        self.print(&trained, &device.caps().name, matches!(reported, Some(Ok(()))))?;
        reported.unwrap_or(Ok(()))
    }

    /// The file of the report, outside the folders that the models will take as a whole.
    fn report_file(&self) -> Result<Option<ReportFile>> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        if let Some(deploy) = &self.deploy
            && absolute(deploy) == absolute(&self.out)
        {
            return Err(Error::config("deploy", "this is the folder of --out; give another"));
        }
        let Some(path) = &self.report else { return Ok(None) };
        let folders = [Some(&self.out), self.deploy.as_ref()];
        if folders.into_iter().flatten().any(|folder| absolute(path).starts_with(absolute(folder))) {
            let detail = format!("{} lies in a folder of the model; give a place beside it", path.display());
            return Err(Error::config("report", detail));
        }
        ReportFile::check(path).map(Some)
    }

    fn print(&self, trained: &Trained, device: &str, reported: bool) -> Result<()> {
        let Trained { record, resumed, seconds, notes, .. } = trained;
        if *resumed > 0 && !self.quiet {
            stderr::line(&format!("note: {resumed} steps were taken before"));
        }
        for note in notes.iter().filter(|note| !self.quiet || note.starts_with("warning")) {
            stderr::line(&report::visible(note));
        }
        let report = self.report.as_deref().filter(|_| reported);
        if self.output.json {
            let (out, deploy) = (self.out.as_path(), self.deploy.as_deref());
            let last_loss = record.last_loss();
            return stdout::json(&Output {
                record,
                last_loss,
                notes,
                out,
                deploy,
                report,
                resumed: *resumed,
                seconds: *seconds,
                device,
            });
        }
        if self.quiet {
            return Ok(());
        }
        let mut text = format!("{}written to {}\n", report::training(trained), self.out.display());
        if let Some(deploy) = &self.deploy {
            text += &format!("packed in {}\n", deploy.display());
        }
        if let Some(report) = report {
            text += &format!("report in {}\n", report.display());
        }
        stdout::text(&text)
    }
}
