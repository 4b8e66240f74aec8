//! Runs that are killed, stopped or lose their files go on to the same bytes, and never take an earlier result along.
#![cfg_attr(not(unix), allow(dead_code, reason = "signals and limits are those of Unix"))]

mod damage;
mod disk;
mod kills;
mod learned;
mod model;
mod program;
mod settings;
mod source;
mod stages;
mod trained;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use program::{Place, same};
use tempfile::TempDir;

/// The model, what an unbroken run makes of it, and how long that takes.
struct Unbroken {
    _folder: TempDir,
    model: PathBuf,
    out: PathBuf,
    time: Duration,
}

static UNBROKEN: LazyLock<Unbroken> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    model::generate(&model);
    let place = Place::new(&model);
    let start = Instant::now();
    place.run(&[]).ok();
    let time = start.elapsed();
    let out = folder.path().join("out");
    std::fs::rename(place.out(), &out).unwrap();
    Unbroken { _folder: folder, model, out, time }
});

/// A place for runs on the model that all tests share.
fn place() -> Place {
    Place::new(&UNBROKEN.model)
}

/// A place with a copy of the model, for tests that change it.
fn place_with_own_model() -> (TempDir, Place) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for (name, bytes) in program::content(&UNBROKEN.model).unwrap() {
        std::fs::write(model.join(name), bytes).unwrap();
    }
    (folder, Place::new(&model))
}

/// Fails unless the result is that of an unbroken run and nothing lies beside it.
#[track_caller]
fn complete(place: &Place) {
    same(&place.out(), &UNBROKEN.out);
    assert_eq!(program::listing(place.path()), ["out"]);
}

/// Puts an earlier result where the run will put its own.
fn earlier(place: &Place) -> Earlier {
    std::fs::create_dir(place.out()).unwrap();
    std::fs::write(place.out().join("config.json"), "{\"earlier\": true}").unwrap();
    std::fs::write(place.out().join("model.safetensors"), "earlier weights").unwrap();
    Earlier(program::content(&place.out()).unwrap())
}

struct Earlier(std::collections::BTreeMap<String, Vec<u8>>);

impl Earlier {
    #[track_caller]
    fn is_at(&self, folder: &Path) {
        assert!(
            program::content(folder).as_ref() == Some(&self.0),
            "the earlier result is not in {}",
            folder.display()
        );
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    #[cfg(unix)]
    for (name, test) in kills::TESTS
        .iter()
        .chain(learned::TESTS)
        .chain(damage::TESTS)
        .chain(settings::TESTS)
        .chain(source::TESTS)
        .chain(stages::TESTS)
        .chain(trained::TESTS)
    {
        trials.push(Trial::test(*name, move || {
            test();
            Ok(())
        }));
    }
    #[cfg(unix)]
    trials.extend(disk::trials());
    libtest_mimic::run(&arguments, trials).exit();
}

/// Tests by their names.
type Tests = &'static [(&'static str, fn())];
