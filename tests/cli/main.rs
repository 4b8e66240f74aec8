//! The program as people run it: what it prints, where, and how it ends.
#![allow(clippy::expect_used, reason = "a test says what it needs")]

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const MODEL: &str = "examples/tiny-llama";

mod bench;
mod commands;
mod damage;
mod edges;
mod ends;
mod learned;
mod plans;
mod report;
mod texts;
mod train;
mod usage;

/// How a run ended and what it said.
#[derive(Debug)]
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the program from the folder of the crate.
fn bitsmith<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    let output = command(args).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
    let code = output.status.code().expect("no signal ends the program");
    let run = Run { code, stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(!run.stderr.contains("panicked"), "{run:?}");
    run
}

fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitsmith"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUST_LOG").stdin(Stdio::null());
    // Where the variable is missing, Mesa writes a line of its own that begins like ours.
    command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    command
}

/// As [`bitsmith`], from one line whose words have no spaces, with `{}` for `path`.
fn typed(line: &str, path: &Path) -> Run {
    bitsmith(line.split_whitespace().map(|word| word.replace("{}", path.to_str().expect("UTF-8 path"))))
}

impl Run {
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Failed with this code, nothing on standard output and all of `words` in the first line of standard error.
    #[track_caller]
    fn failed(self, code: i32, words: &[&str]) -> Self {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        let message = self.stderr.lines().find(|line| line.starts_with("error: "));
        let message = message.unwrap_or_else(|| panic!("no message in {self:?}"));
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
        self
    }

    /// The one JSON object that is all of standard output.
    #[track_caller]
    fn json(self) -> Value {
        let run = self.ok();
        let value: Value = serde_json::from_str(&run.stdout).expect("standard output is one JSON value");
        assert!(value.is_object(), "{value}");
        value
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Names of what is in a folder, hidden files included.
fn listing(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("readable").file_name()).collect();
    names.sort();
    names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect()
}
