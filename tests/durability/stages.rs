//! Kills after the layers are written: while it measures.

use std::path::Path;
use std::time::Duration;

use crate::program::{Place, content, same};
use crate::{Tests, earlier};

pub const TESTS: Tests = &[("a run that is killed while it measures keeps its layers", while_measuring)];

const SHORT: [&str; 6] = ["--text", "examples/tiny-llama/validation.txt", "--max-tokens", "256", "--window", "64"];
/// Windows that overlap: minutes of work.
const LONG: [&str; 4] = ["--text", "examples/tiny-llama/validation.txt", "--stride", "1"];

fn while_measuring() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny-llama");
    let unbroken = Place::new(&model);
    unbroken.run(&SHORT).ok();
    let place = Place::new(&model);
    let old = earlier(&place);
    let running = place.start(&[&LONG[..], &["--force"]].concat());
    // The tokenizer is copied after the last layer.
    while !place.partial().join("model/tokenizer.json").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    running.kill();
    old.is_at(&place.out());
    let all = place.finished();
    let run = place.run(&[&SHORT[..], &["--force", "--resume"]].concat()).ok();
    assert_eq!(run.resumed(), all);
    assert!(content(&place.out()).unwrap().contains_key("bitsmith.json"));
    same(&place.out(), &unbroken.out());
}
