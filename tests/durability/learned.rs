//! Runs that learn block by block, killed and gone on with.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use bitsmith::Random;
use serde_json::Value;

use crate::Tests;
use crate::program::{Place, content};

pub const TESTS: Tests = &[("ten kills of a run that learns give identical bytes", random_kills)];

const KILLS: usize = 10;
const SEED: u32 = 11;

fn place() -> Place {
    let mut place = Place::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny-llama"));
    place.arguments =
        "--device cpu --method learned --bits 2 --group-size 32 --iters 12 --tune-iters 0 --batch-size 4 --samples 8 \
        --seq-len 32 --calib examples/tiny-llama/calibration.txt --cache-to-disk --max-memory-mb 0"
            .split_whitespace()
            .collect();
    place
}

/// All files, of the record all but the times.
fn timeless(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = content(folder).expect("a folder");
    let mut record: Value = serde_json::from_slice(&files["bitsmith.json"]).expect("a record");
    for block in record["blocks"].as_array_mut().expect("blocks") {
        assert!(block["seconds"].take().is_number());
    }
    files.insert("bitsmith.json".to_owned(), record.to_string().into_bytes());
    files
}

fn random_kills() {
    let unbroken = place();
    let start = Instant::now();
    unbroken.run(&[]).ok();
    let time = start.elapsed();
    let expected = timeless(&unbroken.out());
    let mut random = Random::new(SEED);
    let (mut kills, mut resumed) = (0, 0);
    while kills < KILLS {
        let place = place();
        loop {
            let running = place.start(&["--resume"]);
            std::thread::sleep(time.mul_f32(random.uniform()));
            resumed += usize::from(running.kill().resumed() > 0);
            if place.out().exists() {
                break;
            }
            kills += 1;
        }
        let found = timeless(&place.out());
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, bytes) in &expected {
            assert!(found[name] == *bytes, "{name} differs");
        }
    }
    assert!(resumed > 0, "no run found anything to go on with");
}
