//! The library's own door.

use bitsmith::Error;
use bitsmith::hub::{Hub, RepoId};
use bitsmith::progress::{Progress, Silent};

use crate::server::{Fault, Server};
use crate::{ID, MODEL, model_file};

/// Adds up what it hears, and stops when it has heard enough.
#[derive(Default)]
struct Heard {
    total: u64,
    done: u64,
    files: Vec<String>,
    open: i32,
    enough: Option<u64>,
}

impl Progress for Heard {
    fn begin(&mut self, what: &str, total: u64) {
        assert!(what.contains(ID), "{what}");
        self.total += total;
        self.open = 1;
    }

    fn advance(&mut self, units: u64, note: &str) {
        self.done += units;
        self.files.push(note.to_owned());
    }

    fn end(&mut self) {
        self.open -= 1;
    }

    fn cancelled(&self) -> bool {
        self.enough.is_some_and(|enough| self.done >= enough)
    }
}

fn hub(server: &Server) -> (Hub, tempfile::TempDir) {
    let cache = tempfile::tempdir().expect("a folder");
    (Hub::from_env().endpoint(server.address()).token("hf_test").cache_dir(cache.path()), cache)
}

fn id() -> RepoId {
    ID.parse().expect("a name")
}

#[test]
fn progress_counts_every_byte_once() {
    let server = Server::with(MODEL);
    let (hub, _cache) = hub(&server);
    let cut = std::sync::atomic::AtomicBool::new(true);
    server.misbehave(move |asked| {
        let first = asked.path.starts_with("/cdn/") && asked.method == "GET";
        (first && cut.swap(false, std::sync::atomic::Ordering::Relaxed)).then_some(Fault::Cut(100_000))
    });
    let mut heard = Heard::default();
    let folder = hub.fetch_model(&id(), &mut heard).expect("it is there");
    assert!(folder.join("config.json").exists());
    assert_eq!((heard.done, heard.open), (heard.total, 0));
    assert_eq!(heard.total, server.sent() as u64);
    assert!(heard.files.iter().any(|file| file == "model.safetensors"));
    // Nothing is left to do.
    let mut heard = Heard::default();
    assert_eq!(hub.fetch_model(&id(), &mut heard).expect("it is there"), folder);
    assert_eq!((heard.done, heard.total), (0, 0));
    assert!(!format!("{hub:?}").contains("hf_test"));
}

#[test]
fn progress_may_cancel() {
    let server = Server::with(MODEL);
    let (hub, _cache) = hub(&server);
    server.misbehave(|asked| (asked.path.starts_with("/cdn/") && asked.method == "GET").then_some(Fault::Stall));
    let mut heard = Heard { enough: Some(1), ..Heard::default() };
    assert!(matches!(hub.fetch_model(&id(), &mut heard), Err(Error::Cancelled)));
    assert_eq!(heard.open, 0);
}

#[test]
fn a_file_of_a_dataset_is_fetched_alone() {
    let server = Server::start();
    let text = model_file("calibration.txt");
    server.put("datasets/lab/texts", "data/part one.txt", &text);
    server.put("datasets/lab/texts", "data/other.txt", b"never asked for");
    let (hub, cache) = hub(&server);
    let id = "lab/texts".parse().expect("a name");
    let path = hub.fetch_dataset_file(&id, "data/part one.txt", &mut Silent).expect("it is there");
    assert!(path.starts_with(cache.path().join("datasets--lab--texts")), "{path:?}");
    assert!(std::fs::read(&path).expect("a file") == text);
    assert_eq!(server.sent(), text.len());
    assert_eq!(hub.clone().offline().fetch_dataset_file(&id, "data/part one.txt", &mut Silent).expect("cached"), path);
    let missing = hub.fetch_dataset_file(&id, "data/two.txt", &mut Silent);
    assert!(matches!(&missing, Err(Error::Hub { detail, .. }) if detail.contains("data/two.txt")), "{missing:?}");
    for outside in ["../a", "/a", "a//b", "a\\b", ""] {
        let refused = hub.fetch_dataset_file(&id, outside, &mut Silent);
        assert!(matches!(refused, Err(Error::Config { .. })), "{outside}: {refused:?}");
    }
}
