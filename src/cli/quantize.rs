//! `bitsmith quantize`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bitsmith::eval::Evaluation;
use bitsmith::export::{FORMATS, Record};
use bitsmith::quant::{
    Outcome, QuantizeRequest, Quantizer, Way, check_plan_file, quantize_model, read_plan, write_plan,
};
use bitsmith::report::html;
use bitsmith::train::quantize_finetuned;
use bitsmith::{Error, Result, report};
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args};
use serde::Serialize;

use super::calib::CalibArgs;
use super::files::FileArgs;
use super::finetune::FinetuneArgs;
use super::model::ModelArg;
use super::run::{RunArgs, outside, written};
use super::text::{Cut, TEXTS, TextArg};

/// Name of the command.
pub(super) const NAME: &str = "quantize";

/// Quantize the linear layers of a model and save the result
///
/// Output head, embeddings and norms are kept as they are. The new folder is in the compressed-tensors format unless
/// another is named, with tokenizer and configuration, and with a report of the error of each layer in bitsmith.json. It appears under its
/// name only when it is complete; what is finished until then outlives a kill, for --resume.
#[derive(Debug, Args)]
#[command(name = NAME, after_long_help = EXAMPLE, group(ArgGroup::new(TEXTS).multiple(true)))]
#[command(mut_arg("report", |arg| arg.help(PAGE)))]
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
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    run: RunArgs,
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

/// What `--report` makes.
const PAGE: &str = "Write a page about the run, to be opened in a browser: sizes, quality, error per layer as a picture; an \
    earlier page of that name is replaced";

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
        let quality =
            self.text.as_ref().map(|text| self.cut.request(text, &self.run.hub, self.run.quiet)).transpose()?;
        let model = self.model.find(&self.run.hub, self.run.quiet)?;
        let calibration = match quantizer.way(self.calib.is_given()) {
            // Said before a text is read or downloaded.
            Way::Layers(_) if self.calib.is_given() => {
                return Err(Error::config("calib", format!("{} learns from no text; leave it out", quantizer.name())));
            }
            Way::Blocks(blocks) if self.calib.is_given() => Some(self.calib.load(
                &model.path,
                |len| blocks.samples(len),
                &self.cut.documents,
                &self.run.hub,
                self.run.quiet,
            )?),
            Way::Observed(method) if self.calib.is_given() => Some(self.calib.load(
                &model.path,
                |len| method.samples(len),
                &self.cut.documents,
                &self.run.hub,
                self.run.quiet,
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
            strict: self.files.strict,
            shard_size: self.files.shard_size.0,
            quality,
            ..QuantizeRequest::new(model.path, &self.out)
        })
    }

    pub(super) async fn run(&self, quantizer: &dyn Quantizer) -> Result<()> {
        let request = self.request(quantizer)?;
        let finetune = self.finetune.find(&self.cut.documents, &self.run.hub, self.run.quiet)?;
        if finetune.is_some() {
            // Said before the device is tested.
            quantizer.in_the_loop()?;
        }
        let page = self.run.page(&[("out", &self.out)])?;
        if let Some(file) = &self.plan_out {
            outside("plan_out", file, &[("out", &self.out)])?;
            check_plan_file(file)?;
        }
        let device = self.run.open().await?;
        let start = Instant::now();
        let mut bar = self.run.bar();
        let outcome = match &finetune {
            Some(finetune) => quantize_finetuned(&device, quantizer, &request, finetune, &mut bar).await?,
            None => quantize_model(&device, quantizer, &request, &mut bar).await?,
        };
        let seconds = start.elapsed().as_secs_f64();
        let planned = self.plan_out.as_deref().map_or(Ok(()), |file| write_plan(file, &outcome.record.plan()));
        let page = self.run.report(page, (&device, start), |facts| html::quantization(&outcome, facts));
        let Outcome { record, evaluation, resumed, notes } = &outcome;
        let plan = self.plan_out.as_deref().filter(|_| planned.is_ok());
        let output = Output {
            record,
            evaluation: evaluation.as_ref(),
            notes,
            out: &self.out,
            plan,
            report: page.path,
            seconds,
            device: &device.caps().name,
        };
        let before = (*resumed > 0).then(|| format!("{resumed} tensors were finished"));
        self.run.print(&output, (before, notes), || {
            let files = [("written to", Some(self.out.as_path())), ("plan in", plan), ("report in", page.path)];
            report::quantization(&outcome) + &written(&files)
        })?;
        planned.and(page.result)
    }
}
