//! kill -9 at random moments, and stops on request.

use bitsmith::Random;

use crate::program::content;
use crate::{Tests, UNBROKEN, complete, earlier, place};

pub const TESTS: Tests = &[
    ("twenty kills at random moments give identical bytes", random_kills),
    ("kills while an earlier result is replaced leave one of the two", kills_while_replacing),
    ("a kill between the renames loses nothing", between_the_renames),
    ("a kill before the folder is tidied up leaves the new result", before_tidying),
    ("SIGINT and SIGTERM end cleanly and can be resumed", stopped),
    ("two processes do not work on one folder", two_processes),
];

const KILLS: usize = 20;
const SEED: u32 = 7;

fn random_kills() {
    let mut random = Random::new(SEED);
    let (mut kills, mut resumed) = (0, 0);
    while kills < KILLS {
        let place = place();
        loop {
            let running = place.start(&["--resume"]);
            std::thread::sleep(UNBROKEN.time.mul_f32(random.uniform()));
            let run = running.kill();
            resumed += usize::from(run.resumed() > 0);
            if place.out().exists() {
                break;
            }
            kills += 1;
        }
        // The last one may have been killed after it gave the folder its name.
        if place.partial().exists() {
            place.run(&["--resume"]).failed(2, &["exists"]);
        }
        complete(&place);
    }
    assert!(resumed > 0, "no run found anything to go on with");
}

fn kills_while_replacing() {
    let mut random = Random::new(SEED + 1);
    let mut kills = 0;
    while kills < KILLS / 2 {
        let place = place();
        let old = earlier(&place);
        loop {
            let running = place.start(&["--resume", "--force"]);
            std::thread::sleep(UNBROKEN.time.mul_f32(random.uniform()));
            running.kill();
            let now = content(&place.out()).or_else(|| content(&place.partial().join("replaced")));
            if now.as_ref() != Some(&old.0) {
                break;
            }
            kills += 1;
        }
        if place.partial().exists() {
            place.run(&[]).failed(2, &["exists"]);
        }
        complete(&place);
    }
}

/// Brings about by hand what no kill hits reliably: everything is written, the earlier result is put aside.
fn put_aside() -> (crate::program::Place, crate::Earlier) {
    let place = place();
    let old = earlier(&place);
    let mut running = place.start(&["--force"]);
    running.at_work();
    running.kill();
    std::fs::rename(place.out(), place.partial().join("replaced")).unwrap();
    (place, old)
}

fn between_the_renames() {
    let (place, old) = put_aside();
    place.run(&[]).failed(2, &["put back", "exists"]);
    old.is_at(&place.out());
    let (place, _) = put_aside();
    assert!(place.run(&["--resume", "--force"]).ok().says(&["put back"]).resumed() > 0);
    complete(&place);
    // Somebody else took the name meanwhile: nothing is thrown away.
    let (place, old) = put_aside();
    std::fs::create_dir(place.out()).unwrap();
    place.run(&["--force"]).failed(2, &["aside", "replaced"]);
    old.is_at(&place.partial().join("replaced"));
}

fn before_tidying() {
    let (place, _) = put_aside();
    std::fs::remove_dir_all(place.partial().join("model")).unwrap();
    std::fs::create_dir(place.out()).unwrap();
    for (name, bytes) in content(&UNBROKEN.out).unwrap() {
        std::fs::write(place.out().join(name), bytes).unwrap();
    }
    place.run(&["--resume"]).failed(2, &["exists"]);
    complete(&place);
}

fn stopped() {
    for signal in ["INT", "TERM"] {
        let place = place();
        let mut running = place.start(&[]);
        running.at_work();
        running.signal(signal);
        running.end().failed(1, &["error: stopped on request", "hint: ", "tensors are saved in", "--resume"]);
        assert!(place.run(&["--resume"]).ok().resumed() > 0);
        complete(&place);
    }
}

fn two_processes() {
    let place = place();
    let mut first = place.start(&[]);
    first.at_work();
    first.signal("STOP");
    for arguments in [&[][..], &["--resume"], &["--force"]] {
        place.run(arguments).failed(2, &["another process"]);
    }
    first.signal("CONT");
    first.end().ok();
    complete(&place);
}
