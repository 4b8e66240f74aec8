//! Progress on standard error, for work that takes longer than a moment.

use std::fmt::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use bitsmith::progress::Progress;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::interrupt;

/// Work that is over sooner shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(250);
const TEMPLATE: &str = "{prefix} {bar:30} {percent:>3}%  {left}  {wide_msg}";

/// A bar for the stage at work. Nothing is drawn where standard error is no terminal.
#[derive(Debug)]
pub(super) struct Bar {
    quiet: bool,
    stage: Option<Stage>,
}

#[derive(Debug)]
struct Stage {
    bar: ProgressBar,
    /// Dropped when the stage is over, which ends the wait to show the bar.
    _running: Sender<()>,
}

impl Bar {
    /// A bar, or with `quiet` none at all.
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, stage: None }
    }
}

impl Progress for Bar {
    fn begin(&mut self, what: &str, total: u64) {
        self.end();
        if self.quiet {
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.with_key("left", time_left));
        bar.set_prefix(what.to_owned());
        let (running, ended) = channel();
        let late = bar.clone();
        // A thread, since the first unit of work alone may take minutes.
        std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                late.set_draw_target(ProgressDrawTarget::stderr());
                late.enable_steady_tick(TICK);
            }
        });
        self.stage = Some(Stage { bar, _running: running });
    }

    fn advance(&mut self, units: u64, note: &str) {
        if let Some(Stage { bar, .. }) = &self.stage {
            bar.set_message(note.to_owned());
            bar.inc(units);
        }
    }

    fn end(&mut self) {
        if let Some(Stage { bar, .. }) = self.stage.take() {
            bar.finish_and_clear();
        }
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}

/// Nothing is known before the first unit of work is done.
fn time_left(state: &ProgressState, out: &mut dyn Write) {
    let _ = match state.pos() {
        0 => Ok(()),
        _ => write!(out, "{} left", HumanDuration(state.eta())),
    };
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.end();
    }
}
