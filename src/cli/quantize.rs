//! `bitsmith quantize`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bitsmith::eval::Evaluation;
use bitsmith::export::Record;
use bitsmith::quant::{Outcome, QuantizeRequest, Quantizer, quantize_model};
use bitsmith::{Result, report};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::bar::Bar;
use super::device::DeviceArg;
use super::model::ModelPath;
use super::size::Bytes;
use super::text::Cut;
use super::{Json, interrupt, stdout};

/// Name of the command.
pub(super) const NAME: &str = "quantize";

/// Quantize the linear layers of a model and save the result
///
/// Output head, embeddings and norms are kept as they are. The new folder is in the compressed-tensors format, with
/// tokenizer and configuration, and with a report of the error of each layer in bitsmith.json. It appears under its
/// name only when it is complete; what is finished until then outlives a kill, for --resume.
#[derive(Debug, Args)]
#[command(name = NAME, after_long_help = EXAMPLE)]
pub(super) struct Quantize {
    /// Folder of the model to quantize
    model: ModelPath,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace the folder if it is there
    #[arg(long)]
    force: bool,
    /// Go on with what a run left unfinished that was killed, stopped or failed; model and settings must be those of
    /// that run
    #[arg(long)]
    resume: bool,
    /// Keep this layer as it is: its name, the end of its name, or re: and a regular expression that matches from the
    /// start of the name; may be given several times
    #[arg(long, value_name = "PATTERN")]
    skip: Vec<String>,
    /// Data that the method learns from: none, which is all that rtn needs
    #[arg(long, value_name = "SOURCE", default_value = "none", hide_possible_values = true)]
    calibration: Calibration,
    /// Largest weight file, such as 5GB or 500MB
    #[arg(long, value_name = "SIZE", default_value_t = Bytes(5_000_000_000))]
    shard_size: Bytes,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    output: Json,
    /// No progress and no report: warnings and errors only
    #[arg(long)]
    quiet: bool,
    /// Measure on this UTF-8 text what it cost: perplexity before and after, KL divergence
    #[arg(long, value_name = "FILE", help_heading = "Evaluation")]
    text: Option<PathBuf>,
    #[command(flatten)]
    cut: Cut,
}

const EXAMPLE: &str = "\
Example:
  bitsmith quantize examples/tiny-llama --out tiny-w4 --bits 4 --group-size 64 \\
    --text examples/tiny-llama/validation.txt --documents '<|endoftext|>'";

/// Where calibration data comes from.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Calibration {
    /// No data.
    None,
}

/// The content of `bitsmith.json` and what is not for the file.
#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    record: &'a Record,
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluation: Option<&'a Evaluation>,
    notes: &'a [String],
    out: &'a Path,
    seconds: f64,
    device: &'a str,
}

impl Quantize {
    fn request(&self) -> Result<QuantizeRequest> {
        let Calibration::None = self.calibration;
        Ok(QuantizeRequest {
            force: self.force,
            resume: self.resume,
            skip: self.skip.clone(),
            shard_size: self.shard_size.0,
            quality: self.text.as_deref().map(|text| self.cut.request(text)).transpose()?,
            ..QuantizeRequest::new(self.model.existing()?, &self.out)
        })
    }

    pub(super) async fn run(&self, quantizer: &dyn Quantizer) -> Result<()> {
        let request = self.request()?;
        let device = self.device.open().await?;
        interrupt::listen();
        let start = Instant::now();
        let outcome = quantize_model(&device, quantizer, &request, &mut Bar::new(self.quiet)).await?;
        let Outcome { record, evaluation, notes, .. } = &outcome;
        if outcome.resumed > 0 && !self.quiet {
            eprintln!("note: {} tensors were finished before", outcome.resumed);
        }
        for note in notes.iter().filter(|note| !self.quiet || note.starts_with("warning")) {
            eprintln!("{note}");
        }
        if self.output.json {
            let (seconds, device) = (start.elapsed().as_secs_f64(), &device.caps().name);
            return stdout::json(&Output {
                record,
                evaluation: evaluation.as_ref(),
                notes,
                out: &self.out,
                seconds,
                device,
            });
        }
        if self.quiet {
            return Ok(());
        }
        stdout::text(&format!("{}written to {}\n", report::quantization(&outcome), self.out.display()))
    }
}
