//! The commands of the `bitsmith` program: what is typed, what the library does of it, what is printed.

mod bar;
mod bench;
mod calib;
mod device;
mod devices;
mod eval;
mod export;
mod failure;
mod files;
mod finetune;
mod generate;
mod images;
mod importance;
mod inspect;
mod interrupt;
mod log;
mod method;
mod model;
mod quantize;
mod room;
mod run;
mod stderr;
mod stdout;
mod text;
mod train;

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use bitsmith::{Error, Result};
use failure::Failure;
use method::Methods;

/// Makes language models small: quantizes their weights, measures what it cost, saves them for other programs
///
/// MODEL is a folder as Hugging Face has them (config.json, tokenizer.json and safetensors files), a GGUF file, or the name of a model
/// on the Hugging Face hub, such as HuggingFaceTB/SmolLM-135M, which is downloaded once.
#[derive(Debug, Parser)]
#[command(name = "bitsmith", version, arg_required_else_help = true, after_long_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "\
Example, from a checkout of bitsmith:
  bitsmith quantize examples/tiny-llama --out tiny-w4 --bits 4 --group-size 64
  bitsmith generate tiny-w4 --prompt 'Once upon a time'

Exit codes: 0 done, 1 failed, 2 what was typed cannot be used.
RUST_LOG=info (or debug) tells more on standard error.";

#[derive(Debug, Subcommand)]
enum Command {
    Quantize(quantize::Quantize),
    Export(export::Export),
    Train(train::Train),
    Eval(eval::Eval),
    Generate(generate::Generate),
    Importance(importance::ImportanceCommand),
    Inspect(inspect::Inspect),
    Devices(devices::Devices),
    Bench(bench::Bench),
}

/// A command line that was understood.
pub(crate) struct Invocation {
    command: Command,
    /// The command with all its flags, to name them in messages.
    definition: clap::Command,
    /// What was typed for it.
    matches: clap::ArgMatches,
}

impl Invocation {
    /// Reads a command line, program name first.
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> std::result::Result<Self, Failure> {
        let args: Vec<OsString> = args.into_iter().collect();
        let methods = Methods::all();
        let method = methods.chosen(&args);
        let mut cli = Cli::command().mut_subcommand(quantize::NAME, |command| methods.augment(command, method));
        // A negative number is a bad value of its flag, not a flag of its own.
        cli = cli.mut_subcommands(|command| command.allow_negative_numbers(true));
        let matches = cli.try_get_matches_from_mut(&args).map_err(|error| methods.explain(error, method))?;
        let command = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut cli))?.command;
        // `Cli` has been made of it, so there is a subcommand.
        let (name, matches) = matches.subcommand().ok_or_else(|| Error::config("command", "none was given"))?;
        let definition = cli.find_subcommand(name).cloned().unwrap_or_default();
        Ok(Self { command, definition, matches: matches.clone() })
    }

    /// Does what was asked for.
    pub(crate) async fn run(&self) -> std::result::Result<(), Failure> {
        log::start();
        self.dispatch().await.map_err(|error| Failure::of(error, &self.definition))
    }

    async fn dispatch(&self) -> Result<()> {
        match &self.command {
            Command::Quantize(command) => command.run(&*Methods::all().build(&self.matches)?).await,
            Command::Export(command) => command.run(),
            Command::Train(command) => command.run().await,
            Command::Eval(command) => command.run().await,
            Command::Generate(command) => command.run().await,
            Command::Importance(command) => command.run().await,
            Command::Inspect(command) => command.run(),
            Command::Devices(command) => command.run().await,
            Command::Bench(command) => command.run().await,
        }
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Args)]
struct Json {
    /// Print one JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}
