//! `--finetune`.

use bitsmith::Result;
use bitsmith::hub::Split;
use bitsmith::train::{Finetune, FinetuneConfig};

use super::model::HubArgs;
use super::text::{DocumentArgs, TEXTS, TextArg};

/// A training before a quantization. A command that flattens them has those of [`DocumentArgs`] too.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Fine-tuning, for --method ternary")]
pub(super) struct FinetuneArgs {
    /// Train the model on this text with the quantizer in the loop, then pack it: a file (plain text, or rows in .jsonl or
    /// .parquet), or a dataset on the hub. All of it is read, whatever --max-documents says. What is not quantized trains
    /// too, and is written in f32
    #[arg(long, value_name = "FILE|NAME", group = TEXTS)]
    finetune: Option<TextArg>,
    #[command(flatten)]
    config: FinetuneConfig,
}

impl FinetuneArgs {
    /// The training that was asked for, if one was.
    pub(super) fn find(&self, documents: &DocumentArgs, hub: &HubArgs, quiet: bool) -> Result<Option<Finetune>> {
        let Some(text) = &self.finetune else { return Ok(None) };
        let text = documents.find(text, "finetune", Split::Train, hub, quiet)?;
        let documents = documents.separator().map(str::to_owned);
        Ok(Some(Finetune { text, documents, config: self.config.clone() }))
    }
}
