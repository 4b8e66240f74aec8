//! How a run that failed ends: one line that says why, one that says what to do, an exit code.

use std::error::Error as _;
use std::io::ErrorKind;
use std::num::{ParseFloatError, ParseIntError};
use std::process::ExitCode;

use bitsmith::{Error, report};
use clap::error::{ContextKind, ContextValue};

use super::{stderr, stdout};

/// Why a run ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line was not understood, or help was asked for; clap knows what to print.
    Usage(Box<clap::Error>),
    /// Nobody reads standard output any more.
    Unread,
    /// Something failed.
    Failed {
        /// The exit code.
        code: u8,
        /// One line.
        message: String,
        /// One line, or empty.
        hint: String,
    },
}

/// Exit code for what failed.
const FAILED: u8 = 1;
/// Exit code for what was typed and cannot be used.
pub(super) const USAGE: u8 = 2;

impl Failure {
    /// Of an error while `command` ran. A setting at fault is named by its flag.
    pub(super) fn of(error: Error, command: &clap::Command) -> Self {
        let (code, message, hint) = match error {
            Error::Io { path, source }
                if source.kind() == ErrorKind::BrokenPipe && path.as_os_str() == stdout::NAME =>
            {
                return Self::Unread;
            }
            Error::Config { field, detail } => {
                let name = flag(command, &field).unwrap_or(field);
                (USAGE, format!("{name}: {detail}"), format!("see `bitsmith {} --help`", command.get_name()))
            }
            Error::Unfinished { cause, unit, finished, total, folder } => {
                let hint = format!(
                    "{finished} of {total} {unit} are saved in {}; the same command with --resume goes on with them",
                    folder.display()
                );
                return match Self::of(*cause, command) {
                    Self::Failed { code, message, .. } => Self::Failed { code, message, hint: one_line(&hint) },
                    other => other,
                };
            }
            Error::Unsupported { what, remedy } => (FAILED, format!("{what} is not supported"), remedy),
            Error::Hub { id, detail, remedy } => (FAILED, format!("{id}: {detail}"), remedy),
            other => (FAILED, other.to_string(), String::new()),
        };
        Self::Failed { code, message: one_line(&message), hint: one_line(&hint) }
    }

    /// Prints it on standard error (help on standard output) and gives the exit code.
    pub(crate) fn tell(self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                // Where even that cannot be printed, the exit code has to do.
                let told = error.print();
                if told.is_err() && !error.use_stderr() {
                    return ExitCode::from(FAILED);
                }
                u8::try_from(error.exit_code()).map_or(ExitCode::from(USAGE), ExitCode::from)
            }
            Self::Unread => ExitCode::from(FAILED),
            Self::Failed { code, message, hint } => {
                stderr::line(&format!("error: {message}"));
                if !hint.is_empty() {
                    stderr::line(&format!("hint: {hint}"));
                }
                ExitCode::from(code)
            }
        }
    }
}

impl From<clap::Error> for Failure {
    /// A value that its flag cannot take is told of as a setting that is found wrong later: clap would put the name of
    /// the flag before a message that names it already, or pass on what the standard library says of a number.
    fn from(error: clap::Error) -> Self {
        let detail = error.source().and_then(|source| match source.downcast_ref() {
            Some(Error::Config { detail, .. }) => Some(detail.clone()),
            Some(_) => None,
            None if source.is::<ParseIntError>() => Some("not a whole number from 0 up".to_owned()),
            None if source.is::<ParseFloatError>() => Some("not a number".to_owned()),
            None => None,
        });
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let (flag, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
        match (detail, flag.and_then(|flag| flag.split(' ').next()), value) {
            (Some(detail), Some(flag), Some(value)) => {
                let shown = if detail.contains(value) { String::new() } else { format!("`{value}` is ") };
                let message = one_line(&format!("{flag}: {shown}{detail}"));
                Self::Failed { code: USAGE, message, hint: "see `--help`".to_owned() }
            }
            _ => Self::Usage(Box::new(error)),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(error, &clap::Command::new("bitsmith"))
    }
}

/// The flag that sets `field`, as it is typed.
fn flag(command: &clap::Command, field: &str) -> Option<String> {
    let field = match field {
        "output folder" => "out",
        "pattern" => "skip",
        "calibration" => "calib",
        other => other,
    };
    let long = command.get_arguments().find(|arg| arg.get_id() == field)?.get_long()?;
    Some(format!("--{long}"))
}

/// Regular expressions and parsers draw pictures over several lines; names in a file may hold control characters.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(report::visible).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_named_by_its_flag() {
        let command = clap::Command::new("eval").arg(clap::Arg::new("max_tokens").long("max-tokens"));
        let Failure::Failed { code, message, hint } = Failure::of(Error::config("max_tokens", "too\n  many"), &command)
        else {
            panic!("a setting is no usage error of clap")
        };
        assert_eq!((code, message.as_str()), (USAGE, "--max-tokens: too many"));
        assert_eq!(hint, "see `bitsmith eval --help`");
    }
}
