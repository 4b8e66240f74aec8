//! `bitsmith importance`.

use std::path::Path;
use std::time::Instant;

use bitsmith::calib::{CalibrationConfig, CalibrationDataset};
use bitsmith::io::{ModelConfig, TextFacts};
use bitsmith::model::StreamedModel;
use bitsmith::quant::GroupSize;
use bitsmith::report::html;
use bitsmith::scheme::Zero;
use bitsmith::search::{
    BitsLadder, Combination, GradualEvaluator, Importance, ImportanceAnalyzer, ImportanceConfig, Measure,
};
use bitsmith::{Result, Scheme, report};
use clap::Args;
use serde::Serialize;

use super::model::ModelArg;
use super::run::{RunArgs, written};
use super::text::{DocumentArgs, TEXTS, TextArg};
use super::{calib, stdout};

/// Sequences where no number is asked for: a prediction takes many, and learns little from their length.
const SAMPLES: usize = 64;
/// Tokens of a sequence where no number is asked for.
const SEQ_LEN: usize = 128;

/// Measure how important each layer and block of a model is
///
/// Each is changed by itself, and the divergence from the original's predictions is measured, in nats a token: rtn rounds it
/// to each rung of the ladder; upgrade raises it from a model that is all at the lowest rung; disable leaves it out (a layer
/// computes with weights of zero); noise restores it in a model whose weights all have noise. gradient predicts what rtn
/// finds, from one pass back through the model.
#[derive(Debug, Args)]
#[command(name = "importance", after_long_help = EXAMPLE, mut_arg("report", |arg| arg.help(PAGE)))]
// What was found is printed in any case.
#[command(mut_arg("quiet", |arg| arg.help("No progress")))]
pub(super) struct ImportanceCommand {
    /// The model, not quantized: a folder, or a name on the hub
    model: ModelArg,
    /// Text to measure on: a file (plain text, or rows in .jsonl or .parquet), or a dataset on the hub such as pile-10k
    #[arg(long, value_name = "FILE|NAME", group = TEXTS)]
    calib: TextArg,
    /// What to measure: rtn, upgrade, disable, noise, gradient, several with commas between them, or all
    #[arg(long, value_name = "NAMES", default_value = "all")]
    measure: String,
    /// Widths to round to: 8, 4, 3, 2 and ternary, with commas between them
    #[arg(long, value_name = "LIST", default_value_t = BitsLadder::default())]
    bits_ladder: BitsLadder,
    /// Input features that share a scale, 16 to 1024; `channel` for one scale per output feature, `tensor` for one in all
    #[arg(long, value_name = "N", default_value = "32")]
    group_size: GroupSize,
    /// Round with a zero point per group
    #[arg(long)]
    asymmetric: bool,
    /// Weights of rtn, upgrade, disable and noise in the score, in any unit; or source, which combines them as Bitween
    /// gradual does
    #[arg(long, value_name = "LIST", default_value_t = Combination::default())]
    weights: Combination,
    /// Standard deviation of the noise, as a share of that of a layer's weights
    #[arg(long, value_name = "SHARE", default_value_t = ImportanceConfig::default().noise)]
    noise: f32,
    /// Seed of the noise
    #[arg(long, value_name = "N", default_value_t = ImportanceConfig::default().seed)]
    seed: u32,
    /// Sequences to measure on, at even distances over the text [default: 64, or as many as the text has]
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Tokens of a sequence [default: 128, or the model's context if that is shorter]
    #[arg(long, value_name = "TOKENS")]
    seq_len: Option<usize>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    documents: DocumentArgs,
}

/// What `--report` makes.
const PAGE: &str = "Write a page with the measures as a picture, to be opened in a browser; an earlier page of that name is \
    replaced";

const EXAMPLE: &str = "\
Example:
  bitsmith importance examples/tiny-llama --calib examples/tiny-llama/calibration.txt --documents '<|endoftext|>' \\
    --measure rtn,gradient --bits-ladder 4,2 --samples 8 --seq-len 64";

/// What was found, and on what.
#[derive(Serialize)]
struct Output<'a> {
    model: &'a str,
    #[serde(flatten)]
    found: &'a Importance,
    samples: usize,
    seq_len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a TextFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a Path>,
    seconds: f64,
    device: &'a str,
}

impl ImportanceCommand {
    fn config(&self) -> ImportanceConfig {
        let zero = if self.asymmetric { Zero::Stored } else { Zero::Symmetric };
        let rung = |bits: &_| Scheme::new(*bits, self.group_size.0, zero);
        let rungs = self.bits_ladder.bits().iter().map(rung).collect();
        ImportanceConfig { rungs, noise: self.noise, seed: self.seed, combination: self.weights }
    }

    fn data(&self, folder: &Path) -> Result<CalibrationDataset> {
        let (config, _) = ModelConfig::read(folder)?;
        let seq_len = Some(self.seq_len.unwrap_or(SEQ_LEN.min(config.context())));
        let shape = CalibrationConfig { samples: self.samples, seq_len };
        calib::sequences(&self.calib, shape, folder, |_| SAMPLES, &self.documents, &self.run.hub, self.run.quiet)
    }

    pub(super) async fn run(&self) -> Result<()> {
        let (measures, config) = (Measure::list(&self.measure)?, self.config());
        config.check(&measures)?;
        let page = self.run.page(&[])?;
        let model = self.model.find(&self.run.hub, self.run.quiet)?;
        let folder = || model.path.file_name().unwrap_or(model.path.as_os_str()).to_string_lossy().into_owned();
        let name = model.id.as_ref().map_or_else(folder, ToString::to_string);
        let data = self.data(&model.path)?;
        let device = self.run.open().await?;
        let start = Instant::now();
        let evaluator = GradualEvaluator::new(StreamedModel::open(&model.path, &device)?, &data).await?;
        let analyzer = ImportanceAnalyzer::new(&evaluator, &data, config);
        let found = analyzer.analyze(&measures, &mut self.run.bar()).await?;
        let page = self.run.report(page, (&device, start), |facts| html::importance(&found, &name, &data, facts));
        if self.run.json() {
            stdout::json(&Output {
                model: &name,
                found: &found,
                samples: data.sequences().len(),
                seq_len: data.seq_len(),
                text: data.text(),
                report: page.path,
                seconds: start.elapsed().as_secs_f64(),
                device: &device.caps().name,
            })?;
        } else {
            stdout::text(&(report::importance(&found, &data) + &written(&[("report in", page.path)])))?;
        }
        page.result
    }
}
