//! `bitsmith bench`.

mod alone;
mod devices;
mod kernels;
mod models;

use std::path::PathBuf;

use bitsmith::{Error, Result};
use clap::Args;

use super::model::{HubArgs, ModelArg};
use super::text::{Cut, TEXTS, TextArg};
use super::{Json, interrupt};
use alone::Alone;
use devices::Devices;

/// Measure how fast kernels are on each device, or set models side by side
///
/// Without MODEL: times large cases of the kernels, after checking their results, and prints a Markdown table for each
/// device. GB/s counts inputs and outputs once each; `of copy` is that rate by the rate of a plain copy on the same
/// device in the same run; `x dense f32` and `x dense f16` are how many times faster a product is than the fastest dense
/// one of its shape with weights of that type.
///
/// With one MODEL or two: bytes, peak memory, time to load, tokens a second, perplexity on a text, and the second by the
/// first. Each model is measured in a process of its own.
///
/// Only ratios and shares of one run can be compared with those of another.
#[derive(Debug, Args)]
#[command(name = NAME, after_long_help = EXAMPLE)]
pub(super) struct Bench {
    /// Models to measure instead of kernels, two at most
    #[arg(value_name = "MODEL", num_args = 0..=2)]
    models: Vec<ModelArg>,
    /// Where to compute: cpu, wgpu, wgpu:N, cuda, cuda:N, auto, or for kernels all, which is the CPU and every GPU;
    /// software adapters count only when named or with --quick [default: all for kernels, auto for models]
    #[arg(long, value_name = "DEVICE")]
    device: Option<Devices>,
    /// Threads of the CPU [default: as many as it has]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Small sizes and few repetitions: shows that everything runs, not how fast
    #[arg(long)]
    quick: bool,
    /// Also write the JSON to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: Json,
    #[command(flatten)]
    hub: HubArgs,
    /// No progress
    #[arg(long)]
    quiet: bool,
    /// Only cases whose name, kernel/variant/size, contains this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, help_heading = "Kernels")]
    #[arg(conflicts_with = "models")]
    filter: String,
    /// Also print what each kernel takes of a generated token
    #[arg(long, requires = "models", help_heading = "Models")]
    kernels: bool,
    /// Tokens of the prompt [default: 512, or what the shorter context has room for]
    #[arg(long, value_name = "N", requires = "models", help_heading = "Models")]
    prompt_tokens: Option<usize>,
    /// Tokens to generate after it [default: 128, or what the shorter context has room for]
    #[arg(long, value_name = "N", requires = "models", help_heading = "Models")]
    decode_tokens: Option<usize>,
    /// Measure perplexity on this text: a file (plain text, or rows in .jsonl or .parquet), or a dataset on the hub such
    /// as wikitext-2
    #[arg(long, value_name = "FILE|NAME", requires = "models", help_heading = "Evaluation", group = TEXTS)]
    text: Option<TextArg>,
    #[command(flatten)]
    cut: Cut,
    /// How the program starts itself to measure one model
    #[arg(long, hide = true, num_args = 3)]
    alone: Option<Vec<std::ffi::OsString>>,
}

/// Name of the command.
pub(super) const NAME: &str = "bench";

const EXAMPLE: &str = "\
Example:
  bitsmith bench --device cpu --filter matvec
  bitsmith bench examples/tiny-llama tiny-w4 --text examples/tiny-llama/validation.txt --documents '<|endoftext|>'";

impl Bench {
    pub(super) async fn run(&self) -> Result<()> {
        if let Some(threads) = self.threads {
            if threads == 0 {
                return Err(Error::config("threads", "0; at least one is needed"));
            }
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build_global().map_err(|e| Error::config("threads", format!("{threads}: {e}")))?;
        }
        interrupt::listen();
        match (&self.alone, &self.models[..]) {
            (Some(alone), _) => self.measure(&Alone::parse(alone)?).await,
            (None, []) => self.kernels().await,
            (None, models) => self.models(models),
        }
    }

    /// Writes the JSON of a result where it was asked for.
    fn write(&self, result: &impl serde::Serialize) -> Result<()> {
        let Some(path) = &self.out else { return Ok(()) };
        let mut json = serde_json::to_string_pretty(result).map_err(|e| Error::format(path, e.to_string()))?;
        json.push('\n');
        std::fs::write(path, json).map_err(|e| Error::io(path, e))
    }
}
