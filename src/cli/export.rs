//! `bitsmith export`.

use std::path::{Path, PathBuf};

use bitsmith::export::FORMATS;
use bitsmith::quant::{ExportRequest, Exported, export_model};
use bitsmith::{Result, report};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::bar::Bar;
use super::files::FileArgs;
use super::model::{HubArgs, ModelArg};
use super::{Json, interrupt, stderr, stdout};

/// Write a quantized model in another format
///
/// Every quantized layer is written anew, its codes as they are; a layer that the new format cannot hold is named, and
/// nothing is written. What readers of the format load with other last digits, or not at all, is said. A model in floating point can be exported where its layers are ternary: each weight -s, 0 or s.
/// Of a model in onnx the quantized layers are written only, each a file of its own.
/// The new folder appears under its name only when it was read back and found the same.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct Export {
    /// The model: a folder, a GGUF file, or a name on the hub
    model: ModelArg,
    /// Format of the new folder
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(FORMATS))]
    format: String,
    /// Folder to make; a name that ends in .gguf is a file, for --format gguf
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace the folder if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    output: Json,
    #[command(flatten)]
    hub: HubArgs,
    /// No progress and no summary: warnings and errors only
    #[arg(long)]
    quiet: bool,
}

const EXAMPLE: &str = "\
Example:
  bitsmith export my-4-bit-model --format gptq --out my-gptq
  bitsmith export my-ternary-model --format bitnet --out my-bitnet
  bitsmith export my-4-bit-model --format gguf --out my-model.gguf";

#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    exported: &'a Exported,
    out: &'a Path,
}

impl Export {
    pub(super) fn run(&self) -> Result<()> {
        let model = self.model.find(&self.hub, self.quiet)?.path;
        let request = ExportRequest {
            force: self.force,
            strict: self.files.strict,
            shard_size: self.files.shard_size.0,
            ..ExportRequest::new(model, &self.out, &self.format)
        };
        interrupt::listen();
        let exported = export_model(&request, &mut Bar::new(self.quiet))?;
        for note in exported.notes.iter().filter(|note| !self.quiet || note.starts_with("warning")) {
            stderr::line(&report::visible(note));
        }
        if self.output.json {
            return stdout::json(&Output { exported: &exported, out: &self.out });
        }
        if self.quiet {
            return Ok(());
        }
        stdout::text(&format!("{}written to {}\n", report::exported(&exported), self.out.display()))
    }
}
