//! `bitsmith inspect`.

use bitsmith::Result;
use bitsmith::report::Inspection;
use clap::Args;

use super::model::{HubArgs, ModelArg};
use super::{Json, stdout};

/// List the tensors of a model: shapes, schemes, what layer inputs become, bytes, bits per weight
///
/// Reads the headers of the files only. The parts of a quantized layer are listed as one.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct Inspect {
    /// A folder with safetensors files, quantized or not, or one such file, or a GGUF file, or the name of a model on the hub
    model: ModelArg,
    #[command(flatten)]
    output: Json,
    #[command(flatten)]
    hub: HubArgs,
}

const EXAMPLE: &str = "\
Example:
  bitsmith inspect examples/tiny-llama";

impl Inspect {
    pub(super) fn run(&self) -> Result<()> {
        let inspection = Inspection::read(&self.model.find(&self.hub, false)?.path)?;
        if self.output.json { stdout::json(&inspection) } else { stdout::text(&inspection.to_string()) }
    }
}
