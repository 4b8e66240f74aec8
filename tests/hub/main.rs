//! Models by their name on the hub: a hub on this machine, the program as people run it, and the library.
#![allow(clippy::expect_used, reason = "a test says what it needs")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

mod datasets;
mod failures;
mod fetched;
mod interrupted;
mod library;
mod server;

const MODEL: &str = "examples/tiny-llama";
/// How the hub calls it.
const ID: &str = "lab/tiny";
/// Where the server keeps it.
const REPOSITORY: &str = "models/lab/tiny";

/// How a run ended and what it said.
#[derive(Debug)]
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    #[track_caller]
    fn json(self) -> Value {
        serde_json::from_str(&self.ok().stdout).expect("standard output is one JSON value")
    }

    /// Failed with this code, nothing on standard output and all of `words` in the message and its hint.
    #[track_caller]
    fn failed(self, code: i32, words: &[&str]) -> Self {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        assert!(self.stderr.lines().count() <= 2, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in: {}", self.stderr);
        }
        self
    }
}

/// A user with an empty cache, who knows one hub.
struct User {
    home: TempDir,
    endpoint: String,
}

impl User {
    fn of(endpoint: &str) -> Self {
        Self { home: tempfile::tempdir().expect("a temporary folder"), endpoint: endpoint.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A file of the model in the cache.
    fn snapshot(&self, commit: &str) -> PathBuf {
        self.path("hub/models--lab--tiny/snapshots").join(commit)
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitsmith"));
        command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        // Nothing of whoever runs the test, and no way out to the network.
        for (name, _) in std::env::vars() {
            let upper = name.to_uppercase();
            if upper.starts_with("HF_")
                || upper.ends_with("_PROXY")
                || name == "HUGGINGFACE_HUB_CACHE"
                || name == "RUST_LOG"
            {
                command.env_remove(name);
            }
        }
        command.env("HF_HOME", self.home.path()).env("HF_ENDPOINT", &self.endpoint);
        command
    }

    /// Runs the program on a line whose words have no spaces, with `{}` for the home folder.
    fn types(&self, line: &str) -> Run {
        run(self.command(self.words(line)))
    }

    fn words(&self, line: &str) -> Vec<String> {
        let home = self.home.path().to_str().expect("UTF-8 path");
        line.split_whitespace().map(|word| word.replace("{}", home)).collect()
    }
}

fn run(mut command: Command) -> Run {
    let output = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
    let code = output.status.code().expect("no signal ends the program");
    let run = Run { code, stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(!run.stderr.contains("panicked"), "{run:?}");
    run
}

/// Names of what is in a folder.
fn listing(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.expect("readable").file_name()).collect();
    names.sort();
    names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

fn model_file(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(MODEL).join(name)).expect("the model is part of the checkout")
}
