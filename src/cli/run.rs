//! The flags of commands that compute for long and may tell of it on a page, and what these do alike.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bitsmith::report::html::{ReportFile, RunFacts};
use bitsmith::{Device, Error, Result, report};
use clap::Args;
use serde::Serialize;

use super::bar::Bar;
use super::device::DeviceArg;
use super::model::HubArgs;
use super::{Json, interrupt, stderr, stdout};

/// Where it runs, what it tells, and where from models and texts come. A command that flattens them says with `mut_arg` what
/// its page holds.
#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    output: Json,
    #[command(flatten)]
    pub(super) hub: HubArgs,
    /// No progress and no summary: warnings and errors only
    #[arg(long)]
    pub(super) quiet: bool,
    /// Write a page about the run, to be opened in a browser; an earlier page of that name is replaced
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// What became of a page.
pub(super) struct Reported<'a> {
    /// Where it is, if it was asked for and is there.
    pub(super) path: Option<&'a Path>,
    /// Told of last: what the page is about is there.
    pub(super) result: Result<()>,
}

impl RunArgs {
    /// Whether results are one JSON object.
    pub(super) fn json(&self) -> bool {
        self.output.json
    }

    /// Progress as it is told.
    pub(super) fn bar(&self) -> Bar {
        Bar::new(self.quiet)
    }

    /// The file of the page, outside folders, named by their flags, that a model will take as a whole.
    pub(super) fn page(&self, folders: &[(&str, &Path)]) -> Result<Option<ReportFile>> {
        let Some(path) = &self.report else { return Ok(None) };
        outside("report", path, folders)?;
        ReportFile::check(path).map(Some)
    }

    /// The device; from now on Ctrl-C asks to stop.
    pub(super) async fn open(&self) -> Result<Device> {
        let device = self.device.open().await?;
        interrupt::listen();
        Ok(device)
    }

    /// Writes the page, if one was asked for: before anything is printed, which may fail.
    pub(super) fn report(
        &self,
        page: Option<ReportFile>,
        (device, start): (&Device, Instant),
        html: impl FnOnce(&RunFacts) -> String,
    ) -> Reported<'_> {
        let Some(file) = page else { return Reported { path: None, result: Ok(()) } };
        let typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        let result = file.write(&html(&RunFacts::new(device, start).command(typed)));
        Reported { path: self.report.as_deref().filter(|_| result.is_ok()), result }
    }

    /// Prints what was finished before, and notes; then the result, as JSON or, unless it is to be quiet, as `summary`.
    pub(super) fn print(
        &self,
        result: &impl Serialize,
        (before, notes): (Option<String>, &[String]),
        summary: impl FnOnce() -> String,
    ) -> Result<()> {
        if let Some(before) = before.filter(|_| !self.quiet) {
            stderr::line(&format!("note: {before} before"));
        }
        for note in notes.iter().filter(|note| !self.quiet || note.starts_with("warning")) {
            stderr::line(&report::visible(note));
        }
        match (self.json(), self.quiet) {
            (true, _) => stdout::json(result),
            (false, true) => Ok(()),
            (false, false) => stdout::text(&summary()),
        }
    }
}

/// Refuses a file in folders, named by their flags, that a model will take as a whole.
pub(super) fn outside(field: &str, path: &Path, folders: &[(&str, &Path)]) -> Result<()> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    match folders.iter().find(|(_, folder)| absolute(path).starts_with(absolute(folder))) {
        Some((flag, _)) => {
            let detail = format!("{} lies in the folder of --{flag}; give a place beside it", path.display());
            Err(Error::config(field, detail))
        }
        None => Ok(()),
    }
}

/// A line for each file that was written.
pub(super) fn written(files: &[(&str, Option<&Path>)]) -> String {
    let line = |(what, path): &(&str, Option<&Path>)| path.map(|path| format!("{what} {}\n", path.display()));
    files.iter().filter_map(line).collect()
}
