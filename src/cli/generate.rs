//! `bitsmith generate`.

use std::time::Instant;

use bitsmith::io::Tokenizer;
use bitsmith::model::{self, Model, Sampling};
use bitsmith::op::ActivationPrecision;
use bitsmith::{Error, Result, report};
use clap::Args;
use serde::Serialize;

use super::device::DeviceArg;
use super::model::{HubArgs, ModelArg};
use super::room::RoomArgs;
use super::{Json, interrupt, stderr, stdout};

/// Continue a text
///
/// The prompt and its continuation are printed as they come; the speed is printed on standard error.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct Generate {
    /// The model, quantized or not: a folder, a GGUF file, or a name on the hub
    model: ModelArg,
    /// Text to continue
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// New tokens at most; the end token of the model ends earlier [default: 100, or as many as the model's context
    /// has room for]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// 0 takes the most likely token each time; 1 draws by the model's probabilities; higher is wilder
    #[arg(long, value_name = "T", default_value_t = Sampling::default().temperature)]
    temperature: f32,
    /// Draw only from the most likely tokens whose probabilities reach this sum, above 0 and at most 1
    #[arg(long, value_name = "P", default_value_t = Sampling::default().top_p)]
    top_p: f32,
    /// Seed of the draw
    #[arg(long, default_value_t = Sampling::default().seed)]
    seed: u32,
    /// Activations that enter quantized layers: exact (f32), int8 (rounded), or auto: as the model was made for
    /// (`bitsmith eval` tells what int8 costs)
    #[arg(long, value_name = "PRECISION", default_value_t = ActivationPrecision::default())]
    activations: ActivationPrecision,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    room: RoomArgs,
    #[command(flatten)]
    output: Json,
    #[command(flatten)]
    hub: HubArgs,
}

const EXAMPLE: &str = "\
Example:
  bitsmith generate examples/tiny-llama --prompt 'Once upon a time' \\
    --max-tokens 50 --temperature 0.8 --top-p 0.9";

/// New tokens where no number is asked for.
const DEFAULT_TOKENS: usize = 100;

#[derive(Serialize)]
struct Output<'a> {
    prompt: &'a str,
    /// The continuation.
    text: &'a str,
    prompt_tokens: &'a [u32],
    /// The new tokens.
    tokens: &'a [u32],
    /// Whether an end token ended it.
    ended: bool,
    seconds: f64,
    tokens_per_second: f64,
    device: &'a str,
}

impl Generate {
    pub(super) async fn run(&self) -> Result<()> {
        let sampling = Sampling { temperature: self.temperature, top_p: self.top_p, seed: self.seed };
        sampling.check()?;
        let folder = &self.model.find(&self.hub, false)?.path;
        let device = self.device.open().await?;
        let model = match self.room.room() {
            None => Model::open_with(folder, &device, self.activations)?,
            Some(room) => Model::open_within(folder, &device, self.activations, room)?,
        };
        let tokenizer = Tokenizer::read(folder, model.config().vocab_size)?;
        let prompt = tokenizer.encode(&self.prompt, true)?;
        let room = model.context().saturating_sub(prompt.len()).max(1);
        let max_tokens = self.max_tokens.unwrap_or(DEFAULT_TOKENS.min(room));
        interrupt::listen();

        let mut text = String::new();
        let mut stream = tokenizer.decode_stream(&prompt);
        // Told with the first token: an error before it leaves standard output empty.
        let mut head = Some(self.prompt.as_str());
        let mut told = Ok(());
        let start = Instant::now();
        let next = |token| {
            told = stream.push(token).and_then(|piece| {
                text.push_str(&piece);
                self.tell(head.take().unwrap_or_default())?;
                self.tell(&piece)
            });
            told.is_ok() && !interrupt::requested()
        };
        let done = model::generate(&model, &prompt, max_tokens, sampling, next).await?;
        let seconds = start.elapsed().as_secs_f64();
        told?;
        let rest = stream.finish()?;
        text.push_str(&rest);
        self.tell(&format!("{}{rest}\n", head.unwrap_or_default()))?;
        if interrupt::requested() {
            return Err(Error::Cancelled);
        }

        let (tokens, device) = (&done.tokens[..], &model.place());
        let tokens_per_second = tokens.len() as f64 / seconds;
        if self.output.json {
            let (prompt, prompt_tokens, text, ended) = (&self.prompt, &prompt[..], &text, done.ended);
            return stdout::json(&Output {
                prompt,
                text,
                prompt_tokens,
                tokens,
                ended,
                seconds,
                tokens_per_second,
                device,
            });
        }
        stderr::line(&report::speed(tokens.len(), seconds, device));
        Ok(())
    }

    /// Prints a piece of the text, unless all is printed at the end.
    fn tell(&self, piece: &str) -> Result<()> {
        if self.output.json { Ok(()) } else { stdout::text(piece) }
    }
}
