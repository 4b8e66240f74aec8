//! Disks and pipes that take no more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::program::{Place, Run};
use crate::{UNBROKEN, complete, earlier, place};

/// Takes no byte.
const FULL: &str = "/dev/full";

pub fn trials() -> Vec<Trial> {
    let limited = Trial::test("a file that may not grow further is an error", || {
        limited_file();
        Ok(())
    });
    let pipe = Trial::test("a full standard output does not take the result along", || {
        full_output();
        Ok(())
    });
    // Only Linux has that file.
    let pipe = pipe.with_ignored_flag(!Path::new(FULL).exists());
    // Mounting is for root alone, and not for every one.
    let disk = Small::mount();
    let missing = disk.is_none();
    let full = Trial::test("a full disk is an error that can be resumed", move || {
        full_disk(&disk.expect("the test is ignored without it"));
        Ok(())
    });
    vec![limited, pipe, full.with_ignored_flag(missing)]
}

/// The largest file that a run may write, in blocks of 512 bytes (some shells: 1024).
fn limited(place: &Place, blocks: u32, more: &[&str]) -> Run {
    let plain = place.command(more);
    let mut command = Command::new("sh");
    // Ignored, the signal becomes an error of the write.
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]).arg(plain.get_program());
    command.args(plain.get_args()).env("RAYON_NUM_THREADS", "2").stdin(Stdio::null());
    Run::of(&command.output().unwrap())
}

fn limited_file() {
    let place = place();
    let old = earlier(&place);
    // Room for a file of quantized layers, but not for the output head.
    limited(&place, 3000, &["--force"]).failed(1, &["safetensors", "too large", "--resume"]);
    old.is_at(&place.out());
    assert!(place.finished() > 100);
    assert!(place.run(&["--force", "--resume"]).ok().resumed() > 100);
    complete(&place);
    // Room for nothing: nothing stays behind.
    let place = crate::place();
    limited(&place, 8, &[]).failed(1, &["safetensors", "too large"]);
    assert_eq!(crate::program::listing(place.path()), [""; 0]);
}

fn full_output() {
    let place = place();
    let full = fs::File::options().write(true).open(FULL).unwrap();
    let output = place.command(&["--json"]).stdout(full).output().unwrap();
    Run::of(&output).failed(1, &["standard output"]);
    complete(&place);
}

/// A small filesystem in memory.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // Enough for some of the layers.
        let mounted = mount(&["-t", "tmpfs", "-o", "size=3M", "tmpfs"], folder.path());
        mounted.then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).stderr(Stdio::null()).status();
    }
}

fn mount(arguments: &[&str], folder: &Path) -> bool {
    let run = Command::new("mount").args(arguments).arg(folder).stderr(Stdio::null()).stdout(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

fn full_disk(disk: &Small) {
    let place = Place::at(&UNBROKEN.model, PathBuf::from(disk.0.path()));
    let old = earlier(&place);
    place.run(&["--force"]).failed(1, &["No space left on device", "tensors are saved", "--resume"]);
    old.is_at(&place.out());
    let finished = place.finished();
    // It has not grown since.
    place.run(&["--force", "--resume"]).failed(1, &["No space left on device"]);
    old.is_at(&place.out());
    assert!(mount(&["-o", "remount,size=64M"], disk.0.path()));
    assert!(place.run(&["--force", "--resume"]).ok().resumed() >= finished.min(1));
    complete(&place);
}
