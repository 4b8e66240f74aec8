//! What was saved and is damaged is found, named and made again.

use std::fs;

use crate::{Tests, complete, place};

pub const TESTS: Tests = &[
    ("a flipped byte in a finished layer is found and named", flipped_byte),
    ("a journal that is cut off loses its last line only", torn_journal),
    ("a damaged journal is noticed", damaged_journal),
    ("files that are missing are made again", missing_file),
];

fn flipped_byte() {
    let place = place();
    place.killed_in_the_middle();
    let mut shards = crate::model::shards(&place.partial().join("model"));
    let first = shards.remove(0);
    let mut bytes = fs::read(&first).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x10;
    fs::write(&first, bytes).unwrap();
    let name = first.file_name().unwrap().to_str().unwrap();
    let run = place.run(&["--resume"]).ok();
    let warning = run.stderr.lines().find(|line| line.ends_with("it was made again")).expect("a warning");
    assert!(warning.contains("model.layers.") && warning.contains(name), "{warning}");
    assert!(run.resumed() > 0, "the others are kept: {run:?}");
    complete(&place);
}

fn torn_journal() {
    let place = place();
    place.killed_in_the_middle();
    let (path, lines) = (place.partial().join("journal"), place.finished());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    let run = place.run(&["--resume"]).ok();
    assert!(run.resumed() >= lines - 2 && run.resumed() < lines, "{run:?}");
    assert!(!run.stderr.contains("made again"), "{run:?}");
    complete(&place);
}

fn damaged_journal() {
    let place = place();
    place.killed_in_the_middle();
    let path = place.partial().join("journal");
    let bytes = fs::read(&path).unwrap();
    let head = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let mut flipped = bytes.clone();
    flipped[10] ^= 1;
    fs::write(&path, &flipped).unwrap();
    place.run(&["--resume"]).failed(2, &["journal", "damaged"]);
    let mut flipped = bytes;
    flipped[head + 30] ^= 1;
    fs::write(&path, &flipped).unwrap();
    place.run(&["--resume"]).ok().says(&["warning: 1 damaged line"]);
    complete(&place);
}

fn missing_file() {
    let place = place();
    place.killed_in_the_middle();
    fs::remove_file(crate::model::shards(&place.partial().join("model")).remove(0)).unwrap();
    place.run(&["--resume"]).ok().says(&["is not as it was saved"]);
    complete(&place);
}
