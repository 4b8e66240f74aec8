//! A model measured in a process of its own, so that its peak memory is its own.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bitsmith::bench::{Lengths, ModelBench, bench_model};
use bitsmith::{Error, Result, check};

use super::{Bench, NAME};
use crate::cli::bar::Bar;
use crate::cli::{interrupt, stdout};

/// What the other process is told beside the command line of this one.
#[derive(Debug)]
pub(super) struct Alone {
    pub(super) folder: PathBuf,
    pub(super) lengths: Lengths,
}

/// How often it is asked whether the other process has ended.
const PATIENCE: Duration = Duration::from_millis(20);

impl Alone {
    /// Reads the values of `--alone`.
    pub(super) fn parse(values: &[OsString]) -> Result<Self> {
        let length = |value: &OsString| value.to_str().and_then(|text| text.parse().ok());
        if let [folder, prompt, decode] = values
            && let (Some(prompt), Some(decode)) = (length(prompt), length(decode))
        {
            return Ok(Self { folder: folder.into(), lengths: Lengths { prompt, decode } });
        }
        Err(Error::config("alone", format!("{values:?} are not a folder and two lengths")))
    }

    /// Starts this program again, with the same command line and `--alone`, and reads what it prints. If it fails, this
    /// program ends as it did: it has said why.
    pub(super) fn start(&self) -> Result<ModelBench> {
        const PROGRAM: &str = "bitsmith, to measure a model";
        let failed = |e| Error::io(PROGRAM, e);
        let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
        let place = args.iter().position(|arg| arg == NAME).map_or(0, |place| place + 1);
        let Lengths { prompt, decode } = self.lengths;
        let alone =
            ["--alone".into(), self.folder.clone().into(), prompt.to_string().into(), decode.to_string().into()];
        args.splice(place..place, alone);
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        let mut child = command.args(args).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut output = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            output.as_mut().map_or(Ok(0), |output| output.read_to_end(&mut bytes)).map(|_| bytes)
        });
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break status;
            }
            if interrupt::requested() {
                // It may have heard of Ctrl-C as well, and be gone.
                let _ = child.kill();
                child.wait().map_err(failed)?;
                return Err(Error::Cancelled);
            }
            std::thread::sleep(PATIENCE);
        };
        if interrupt::requested() {
            return Err(Error::Cancelled);
        }
        match status.code() {
            Some(0) => {}
            Some(code) => std::process::exit(code),
            None => return Err(failed(std::io::Error::other(format!("it was ended: {status}")))),
        }
        let bytes = reader.join().unwrap_or_else(|_| Ok(Vec::new())).map_err(failed)?;
        serde_json::from_slice(&bytes).map_err(|e| Error::format(PROGRAM, e.to_string()))
    }
}

impl Bench {
    /// The other process: measures one model and prints it as JSON.
    pub(super) async fn measure(&self, alone: &Alone) -> Result<()> {
        let request = self.text.as_ref().map(|text| self.cut.request(text, &self.hub, self.quiet)).transpose()?;
        let device = check::open_device(&self.model_device()?).await?;
        let mut bar = Bar::new(self.quiet);
        let Alone { folder, lengths } = alone;
        let done = bench_model(&device, folder, *lengths, self.scale(), request.as_ref(), &mut bar).await?;
        stdout::json(&done)
    }
}
