//! The program on a model, as a person starts, stops and kills it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A folder with the destination of a run, and the arguments that all its runs share.
pub struct Place {
    /// Removed with the place, if it was made for it.
    _temporary: Option<TempDir>,
    folder: PathBuf,
    model: PathBuf,
    pub arguments: Vec<&'static str>,
}

impl Place {
    /// In a new folder, for the model at `model`.
    pub fn new(model: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self::at(model, folder.path().to_path_buf());
        Self { _temporary: Some(folder), ..place }
    }

    /// In `folder`.
    pub fn at(model: &Path, folder: PathBuf) -> Self {
        let arguments = vec!["--device", "cpu", "--group-size", "64", "--shard-size", "1MB"];
        Self { _temporary: None, folder, model: model.to_path_buf(), arguments }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    pub fn out(&self) -> PathBuf {
        self.path().join("out")
    }

    pub fn partial(&self) -> PathBuf {
        self.path().join(".out.partial")
    }

    /// Lines of the journal after its head.
    pub fn finished(&self) -> usize {
        let journal = fs::read(self.partial().join("journal")).unwrap_or_default();
        journal.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1)
    }

    pub fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitsmith"));
        command.arg("quantize").arg(&self.model).arg("--out").arg(self.out()).args(&self.arguments).args(more);
        // Two threads each, so that a machine of few cores is as good as a large one.
        command.env_remove("RUST_LOG").env("RAYON_NUM_THREADS", "2").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, more: &[&str]) -> Run {
        Run::of(&self.command(more).output().unwrap())
    }

    pub fn start(&self, more: &[&str]) -> Running<'_> {
        Running { place: self, child: self.command(more).spawn().unwrap() }
    }

    /// Kills a run as soon as some tensors, but not all, are finished.
    pub fn killed_in_the_middle(&self) {
        let mut running = self.start(&[]);
        running.at_work();
        running.kill();
        assert!(!self.out().exists());
    }
}

/// A run that is at work.
pub struct Running<'a> {
    place: &'a Place,
    child: Child,
}

impl Running<'_> {
    /// Waits until it has finished some tensors; hundreds are left then.
    pub fn at_work(&mut self) {
        const SOME: usize = 20;
        while self.place.finished() < SOME {
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "it ended too early: {:?}",
                self.place.run(&["--resume"])
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// At once, where [`Self::signal`] starts a program for it.
    pub fn kill(mut self) -> Run {
        self.child.kill().unwrap();
        self.end()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "{name}");
    }

    pub fn end(self) -> Run {
        Run::of(&self.child.wait_with_output().unwrap())
    }
}

/// How a run ended and what it said.
#[derive(Debug)]
pub struct Run {
    /// None if a signal ended it.
    pub code: Option<i32>,
    pub stderr: String,
}

impl Run {
    pub fn of(output: &Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Self { code: output.status.code(), stderr }
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Failed with this code and all of `words` on standard error.
    #[track_caller]
    pub fn failed(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.says(words)
    }

    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in: {}", self.stderr);
        }
        self
    }

    /// Tensors that an earlier run had finished.
    pub fn resumed(&self) -> usize {
        let line = self.stderr.lines().find(|line| line.ends_with(" tensors were finished before"));
        line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0)
    }
}

/// Every file of a folder with its bytes; none without the folder.
pub fn content(folder: &Path) -> Option<BTreeMap<String, Vec<u8>>> {
    let entries = fs::read_dir(folder).ok()?;
    let read = |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap());
    Some(entries.map(|entry| read(entry.unwrap().path())).collect())
}

/// Fails unless two folders hold the same files, byte for byte.
#[track_caller]
pub fn same(a: &Path, b: &Path) {
    let (a, b) = (content(a).expect("a folder"), content(b).expect("a folder"));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(b[name] == *bytes, "{name} differs");
    }
}

/// Names in a folder, hidden ones too.
pub fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
