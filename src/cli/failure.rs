//! How a run that failed ends: one line that says why, one that says what to do, an exit code.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use bitsmith::Error;

use super::stdout;

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
            Error::Unfinished { cause, finished, total, folder } => {
                let hint = format!(
                    "{finished} of {total} tensors are saved in {}; the same command with --resume goes on with them",
                    folder.display()
                );
                return match Self::of(*cause, command) {
                    Self::Failed { code, message, .. } => Self::Failed { code, message, hint: one_line(&hint) },
                    other => other,
                };
            }
            Error::Unsupported { what, remedy } => (FAILED, format!("{what} is not supported"), remedy),
            other => (FAILED, other.to_string(), String::new()),
        };
        Self::Failed { code, message: one_line(&message), hint: one_line(&hint) }
    }

    /// Prints it on standard error (help on standard output) and gives the exit code.
    pub(crate) fn tell(self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                // Where even that cannot be printed, the exit code has to do.
                let _ = error.print();
                u8::try_from(error.exit_code()).map_or(ExitCode::from(USAGE), ExitCode::from)
            }
            Self::Unread => ExitCode::from(FAILED),
            Self::Failed { code, message, hint } => {
                let hint = if hint.is_empty() { hint } else { format!("hint: {hint}\n") };
                // The terminal may be gone, and with it the reason for this failure.
                let _ = write!(std::io::stderr(), "error: {message}\n{hint}");
                ExitCode::from(code)
            }
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::Usage(Box::new(error))
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
        other => other,
    };
    let long = command.get_arguments().find(|arg| arg.get_id() == field)?.get_long()?;
    Some(format!("--{long}"))
}

/// Regular expressions and parsers draw pictures over several lines.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
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
