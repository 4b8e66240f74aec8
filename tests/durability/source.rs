//! Source files that vanish or change while they are read.

use std::fs;

use crate::{Tests, complete, earlier, model, place_with_own_model};

pub const TESTS: Tests =
    &[("a vanished source file is an error", vanished), ("a source file that is cut off is an error", cut_off)];

fn vanished() {
    let (folder, place) = place_with_own_model();
    let old = earlier(&place);
    let last = model::shards(&folder.path().join("model")).pop().unwrap();
    let away = folder.path().join("away");
    let mut running = place.start(&["--force"]);
    running.at_work();
    running.signal("STOP");
    fs::rename(&last, &away).unwrap();
    running.signal("CONT");
    running.end().failed(1, &[last.to_str().unwrap(), "No such file", "--resume"]);
    old.is_at(&place.out());
    // Also for the run that was to go on.
    place.run(&["--force", "--resume"]).failed(1, &[last.file_name().unwrap().to_str().unwrap()]);
    old.is_at(&place.out());
    fs::rename(&away, &last).unwrap();
    assert!(place.run(&["--force", "--resume"]).ok().resumed() > 0);
    complete(&place);
}

/// Behind a mapping this would end the program with SIGBUS.
fn cut_off() {
    let (folder, place) = place_with_own_model();
    let old = earlier(&place);
    let last = model::shards(&folder.path().join("model")).pop().unwrap();
    let (bytes, time) = (fs::read(&last).unwrap(), fs::metadata(&last).unwrap().modified().unwrap());
    let mut running = place.start(&["--force"]);
    running.at_work();
    running.signal("STOP");
    let file = fs::File::options().write(true).open(&last).unwrap();
    file.set_len(bytes.len() as u64 / 2).unwrap();
    running.signal("CONT");
    running.end().failed(1, &[last.to_str().unwrap(), "changed while it was in use", "--resume"]);
    old.is_at(&place.out());
    fs::write(&last, &bytes).unwrap();
    file.set_modified(time).unwrap();
    assert!(place.run(&["--force", "--resume"]).ok().resumed() > 0);
    complete(&place);
}
