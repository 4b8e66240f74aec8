//! `bitsmith quantize`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bitsmith::eval::Evaluation;
use bitsmith::export::{FORMATS, Record};
use bitsmith::io::ByteSize;
use bitsmith::quant::{
    Outcome, QuantizeRequest, Quantizer, Way, check_plan_file, quantize_model, read_plan, write_plan,
};
use bitsmith::report::html::{self, ReportFile, RunFacts};
use bitsmith::train::quantize_finetuned;
use bitsmith::{Error, Result, report};
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args};
use serde::Serialize;

use super::bar::Bar;
use super::calib::CalibArgs;
use super::device::DeviceArg;
use super::finetune::FinetuneArgs;
use super::model::{HubArgs, ModelArg};
use super::text::{Cut, TEXTS, TextArg};
use super::{Json, interrupt, stderr, stdout};

/// Name of the command.
pub(super) const NAME: &str = "quantize";

/// Quantize the linear layers of a model and save the result
///
/// Output head, embeddings and norms are kept as they are. The new folder is in the compressed-tensors format unless
/// another is named, with tokenizer and configuration, and with a report of the error of each layer in bitsmith.json. It appears under its
/// name only when it is complete; what is finished until then outlives a kill, for --resume.
#[derive(Debug, Args)]
#[command(name = NAME, after_long_help = EXAMPLE, group(ArgGroup::new(TEXTS).multiple(true)))]
pub(super) struct Quantize {
    /// The model to quantize: a folder, a safetensors file, or a name on the hub
    model: ModelArg,
    /// Folder to make; a name that ends in .gguf is a file, for --format gguf
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
    /// Quantize by this plan, a JSON file with the scheme of each layer, such as --plan-out writes; it takes the place of bits
    /// and group size, and layers that it does not name are kept
    #[arg(long, value_name = "FILE.json", conflicts_with = "skip")]
    plan: Option<PathBuf>,
    /// Write the plan that was used, for --plan; an earlier plan of that name is replaced
    #[arg(long, value_name = "FILE.json")]
    plan_out: Option<PathBuf>,
    /// Format of the new folder
    #[arg(long, value_name = "FORMAT", default_value = FORMATS[0], value_parser = PossibleValuesParser::new(FORMATS))]
    format: String,
    /// Refuse what readers of the format would not load, or would read with other numbers, instead of saying so
    #[arg(long)]
    strict: bool,
    /// Largest weight file, such as 5GB or 500MB; gguf is one file
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(5_000_000_000))]
    shard_size: ByteSize,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    output: Json,
    #[command(flatten)]
    hub: HubArgs,
    /// No progress and no summary: warnings and errors only
    #[arg(long)]
    quiet: bool,
    /// Write a page about the run, to be opened in a browser: sizes, quality, error per layer as a picture; an earlier
    /// page of that name is replaced
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Measure what it cost, perplexity before and after and KL divergence, on this text: a file (plain text, or rows in
    /// .jsonl or .parquet), or a dataset on the hub such as wikitext-2
    #[arg(long, value_name = "FILE|NAME", help_heading = "Evaluation", group = TEXTS)]
    text: Option<TextArg>,
    #[command(flatten)]
    cut: Cut,
    #[command(flatten)]
    calib: CalibArgs,
    #[command(flatten)]
    finetune: FinetuneArgs,
}

const EXAMPLE: &str = "\
Example:
  bitsmith quantize examples/tiny-llama --out tiny-w4 --bits 4 --group-size 64 \\
    --text examples/tiny-llama/validation.txt --documents '<|endoftext|>'
  bitsmith quantize examples/tiny-llama --out tiny-w2 --method learned --preset light --bits 2 \\
    --group-size 32 --asymmetric --seq-len 128 \\
    --calib examples/tiny-llama/calibration.txt --documents '<|endoftext|>'";

/// The content of `bitsmith.json` and what is not for the file.
#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    record: &'a Record,
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluation: Option<&'a Evaluation>,
    notes: &'a [String],
    out: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a Path>,
    seconds: f64,
    device: &'a str,
}

impl Quantize {
    fn request(&self, quantizer: &dyn Quantizer) -> Result<QuantizeRequest> {
        let quality = self.text.as_ref().map(|text| self.cut.request(text, &self.hub, self.quiet)).transpose()?;
        let model = self.model.find(&self.hub, self.quiet)?;
        let calibration = match quantizer.way(self.calib.is_given()) {
            // Said before a text is read or downloaded.
            Way::Layers(_) if self.calib.is_given() => {
                return Err(Error::config("calib", format!("{} learns from no text; leave it out", quantizer.name())));
            }
            Way::Blocks(blocks) if self.calib.is_given() => Some(self.calib.load(
                &model.path,
                |len| blocks.samples(len),
                &self.cut.documents,
                &self.hub,
                self.quiet,
            )?),
            Way::Observed(method) if self.calib.is_given() => Some(self.calib.load(
                &model.path,
                |len| method.samples(len),
                &self.cut.documents,
                &self.hub,
                self.quiet,
            )?),
            // A method that only looks has a text of its own.
            Way::Layers(_) | Way::Observed(_) | Way::Blocks(_) => None,
        };
        Ok(QuantizeRequest {
            calibration,
            max_memory: self.calib.max_memory(),
            name: model.id.map(|id| id.to_string()),
            force: self.force,
            resume: self.resume,
            skip: self.skip.clone(),
            plan: self.plan.as_deref().map(read_plan).transpose()?,
            format: self.format.clone(),
            strict: self.strict,
            shard_size: self.shard_size.0,
            quality,
            ..QuantizeRequest::new(model.path, &self.out)
        })
    }

    pub(super) async fn run(&self, quantizer: &dyn Quantizer) -> Result<()> {
        let request = self.request(quantizer)?;
        let finetune = self.finetune.find(&self.cut.documents, &self.hub, self.quiet)?;
        if finetune.is_some() {
            // Said before the device is tested.
            quantizer.in_the_loop()?;
        }
        let report = self.report_file()?;
        if let Some(file) = &self.plan_out {
            self.outside("plan_out", file)?;
            check_plan_file(file)?;
        }
        let device = self.device.open().await?;
        interrupt::listen();
        let start = Instant::now();
        let mut bar = Bar::new(self.quiet);
        let outcome = match &finetune {
            Some(finetune) => quantize_finetuned(&device, quantizer, &request, finetune, &mut bar).await?,
            None => quantize_model(&device, quantizer, &request, &mut bar).await?,
        };
        let seconds = start.elapsed().as_secs_f64();
        let planned = self.plan_out.as_deref().map(|file| write_plan(file, &outcome.record.plan()));
        // Before anything is printed, which may fail; and its own failure is told of last: the model is there.
        let reported = report.map(|file| {
            let typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
            file.write(&html::quantization(&outcome, &RunFacts::new(&device, start).command(typed)))
        });
        let written =
            |file: &Option<PathBuf>, done: &Option<Result<()>>| file.clone().filter(|_| matches!(done, Some(Ok(()))));
        let files = [written(&self.plan_out, &planned), written(&self.report, &reported)];
        self.print(&outcome, seconds, &device.caps().name, &files)?;
        planned.unwrap_or(Ok(())).and(reported.unwrap_or(Ok(())))
    }

    /// The file of the report.
    fn report_file(&self) -> Result<Option<ReportFile>> {
        let Some(path) = &self.report else { return Ok(None) };
        self.outside("report", path)?;
        ReportFile::check(path).map(Some)
    }

    /// Refuses a file in the folder that the model will take as a whole.
    fn outside(&self, field: &str, path: &Path) -> Result<()> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        if absolute(path).starts_with(absolute(&self.out)) {
            let detail = format!("{} lies in the folder of --out; give a place beside it", path.display());
            return Err(Error::config(field, detail));
        }
        Ok(())
    }

    fn print(&self, outcome: &Outcome, seconds: f64, device: &str, files: &[Option<PathBuf>; 2]) -> Result<()> {
        let Outcome { record, evaluation, resumed, notes } = outcome;
        if *resumed > 0 && !self.quiet {
            stderr::line(&format!("note: {resumed} tensors were finished before"));
        }
        for note in notes.iter().filter(|note| !self.quiet || note.starts_with("warning")) {
            stderr::line(&report::visible(note));
        }
        let [plan, report] = files.each_ref().map(Option::as_deref);
        if self.output.json {
            let evaluation = evaluation.as_ref();
            return stdout::json(&Output { record, evaluation, notes, out: &self.out, plan, report, seconds, device });
        }
        if self.quiet {
            return Ok(());
        }
        let mut text = format!("{}written to {}\n", report::quantization(outcome), self.out.display());
        if let Some(plan) = plan {
            text += &format!("plan in {}\n", plan.display());
        }
        if let Some(report) = report {
            text += &format!("report in {}\n", report.display());
        }
        stdout::text(&text)
    }
}
