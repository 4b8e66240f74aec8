//! Output folders: whole or not at all, and never somebody's home.

use std::fs;
use std::path::Path;

use bitsmith::io::Staging;

use crate::{refused, write};

/// Names in a folder, sorted.
fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn model(folder: &Path, content: &str) {
    fs::create_dir_all(folder).unwrap();
    write(&folder.join("config.json"), content);
    write(&folder.join("model.safetensors"), "");
}

#[test]
fn a_complete_folder_appears_under_its_name() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    let staging = Staging::create(&out, false).unwrap();
    assert!(staging.path().starts_with(parent.path().join(".out.partial")), "on the same filesystem");
    model(&staging.path().join("nested"), "{}");
    model(staging.path(), "{}");
    assert!(!out.exists());
    staging.commit().unwrap();
    assert_eq!(listing(parent.path()), ["out"]);
    assert_eq!(listing(&out), ["config.json", "model.safetensors", "nested"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let plain = parent.path().join("plain");
        fs::create_dir(&plain).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&out), mode(&plain), "the permissions of any new folder");
    }
}

#[test]
fn a_dropped_folder_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let staging = Staging::create(&parent.path().join("out"), false).unwrap();
    model(staging.path(), "{}");
    assert_eq!(listing(parent.path()).len(), 1);
    drop(staging);
    assert!(listing(parent.path()).is_empty());
}

#[test]
fn a_kept_folder_is_gone_on_with() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    let mut staging = Staging::create(&out, false).unwrap();
    model(staging.path(), "half");
    write(&staging.journal(), "x");
    refused("in use", Staging::resume(&out, false), &["out", "another process"]);
    refused("in use", Staging::create(&out, true), &["another process"]);
    staging.keep(true);
    drop(staging);
    let staging = Staging::resume(&out, false).unwrap();
    assert_eq!(fs::read_to_string(staging.path().join("config.json")).unwrap(), "half");
    // Kept again without being told: it is somebody's work.
    drop(staging);
    let staging = Staging::create(&out, false).unwrap();
    assert!(listing(staging.path()).is_empty());
    assert!(staging.notes()[0].contains("thrown away"), "{:?}", staging.notes());
    model(staging.path(), "whole");
    staging.commit().unwrap();
    assert_eq!(listing(parent.path()), ["out"]);
}

#[test]
fn force_replaces_a_model_when_the_new_one_is_complete() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    model(&out, "old");
    refused("exists", Staging::create(&out, false), &["out", "exists", "--force"]);
    let staging = Staging::create(&out, true).unwrap();
    model(staging.path(), "new");
    drop(staging);
    assert_eq!(fs::read_to_string(out.join("config.json")).unwrap(), "old");
    let staging = Staging::create(&out, true).unwrap();
    model(staging.path(), "new");
    staging.commit().unwrap();
    assert_eq!(fs::read_to_string(out.join("config.json")).unwrap(), "new");
    assert_eq!(listing(parent.path()), ["out"]);
}

#[test]
fn force_does_not_delete_what_is_no_model() {
    let parent = tempfile::tempdir().unwrap();
    let home = parent.path().join("home");
    fs::create_dir(&home).unwrap();
    write(&home.join("thesis.tex"), "years of work");
    refused("home", Staging::create(&home, true), &["home", "no model folder"]);
    write(&home.join("config.json"), "{}");
    refused("a program's settings", Staging::create(&home, true), &["no model folder"]);
    assert_eq!(listing(parent.path()), ["home"]);

    let empty = parent.path().join("empty");
    fs::create_dir(&empty).unwrap();
    refused("empty without force", Staging::create(&empty, false), &["--force"]);
    let staging = Staging::create(&empty, true).unwrap();
    // Something else was put there while the model was made.
    write(&empty.join("notes.txt"), "x");
    refused("no longer empty", staging.commit(), &["no model folder"]);
    assert_eq!(listing(parent.path()), ["empty", "home"]);
}

#[test]
fn a_name_taken_in_the_meantime_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    let staging = Staging::create(&out, false).unwrap();
    model(&out, "theirs");
    refused("taken", staging.commit(), &["exists"]);
    assert_eq!(fs::read_to_string(out.join("config.json")).unwrap(), "theirs");
    assert_eq!(listing(parent.path()), ["out"]);
}

#[test]
fn impossible_destinations() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    write(&file, "");
    for force in [false, true] {
        refused("a file", Staging::create(&file, force), &["file", "is a file"]);
        refused("empty", Staging::create(Path::new(""), force), &["names no folder"]);
        refused("root", Staging::create(Path::new("/"), force), &["names no folder"]);
        refused("up", Staging::create(&parent.path().join(".."), force), &["names no folder"]);
        refused("no parent", Staging::create(&parent.path().join("a/b"), force), &["parent folder", "does not exist"]);
        refused("below a file", Staging::create(&file.join("b"), force), &["file"]);
    }
    #[cfg(target_os = "linux")]
    refused("unwritable", Staging::create(Path::new("/proc/bitsmith-out"), false), &["/proc"]);
    #[cfg(unix)]
    {
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path(), &link).unwrap();
        refused("a link", Staging::create(&link, true), &["symbolic link"]);
    }
    assert!(listing(parent.path()).iter().all(|name| !name.contains("partial")));
}
