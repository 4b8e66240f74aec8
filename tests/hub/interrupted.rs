//! Downloads that break off, and what is made of their remains.

use std::fs;
use std::path::PathBuf;

use crate::server::{COMMIT, Fault, Server};
use crate::{ID, MODEL, User, listing, model_file};

/// Of the weights, which are 1.7 MB.
const PIECE: usize = 100_000;

fn is_weights(path: &str) -> bool {
    path.starts_with("/cdn/")
}

fn partial(user: &User) -> PathBuf {
    let blobs = user.path("hub/models--lab--tiny/blobs");
    let name = listing(&blobs).into_iter().find(|name| name.ends_with(".incomplete")).expect("something is left");
    blobs.join(name)
}

fn assert_whole(user: &User) {
    let weights = fs::read(user.snapshot(COMMIT).join("model.safetensors")).expect("the weights are there");
    assert!(weights == model_file("model.safetensors"));
    assert!(!listing(&user.path("hub/models--lab--tiny/blobs")).iter().any(|name| name.ends_with(".incomplete")));
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    server.misbehave(|asked| is_weights(&asked.path).then_some(Fault::Cut(PIECE)));
    let words = ["model.safetensors", "broke", "goes on where it stopped"];
    user.types(&format!("inspect {ID}")).failed(1, &words);
    assert!(!user.snapshot(COMMIT).join("model.safetensors").exists());
    user.types(&format!("inspect {ID} --offline")).failed(1, &["not in the cache"]);
    let have = fs::metadata(partial(&user)).expect("a file").len() as usize;
    assert!(have >= PIECE && have.is_multiple_of(PIECE), "{have} bytes");

    server.behave();
    user.types(&format!("inspect {ID}")).ok();
    assert_whole(&user);
    let weights: Vec<_> =
        server.asked().into_iter().filter(|asked| is_weights(&asked.path) && asked.sent > 0).collect();
    // Each byte was sent once.
    assert_eq!(weights.iter().map(|asked| asked.sent).sum::<usize>(), model_file("model.safetensors").len());
    assert_eq!(weights.last().map(|asked| asked.from), Some(have));
}

#[test]
fn a_server_without_ranges_sends_it_all_again() {
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    server.misbehave(|asked| is_weights(&asked.path).then_some(Fault::Cut(PIECE)));
    user.types(&format!("inspect {ID}")).failed(1, &["broke"]);
    server.misbehave(|asked| is_weights(&asked.path).then_some(Fault::Whole));
    user.types(&format!("inspect {ID}")).ok();
    assert_whole(&user);
}

#[test]
fn remains_that_are_something_else_are_thrown_away() {
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    server.misbehave(|asked| is_weights(&asked.path).then_some(Fault::Cut(PIECE)));
    user.types(&format!("inspect {ID}")).failed(1, &["broke"]);
    let partial = partial(&user);
    fs::write(&partial, vec![0; 5 * PIECE]).expect("writable");
    server.behave();
    user.types(&format!("inspect {ID}")).ok();
    assert_whole(&user);
}

#[test]
fn content_that_is_not_what_was_announced_is_refused() {
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    server.misbehave(|asked| asked.path.ends_with("tokenizer.json").then_some(Fault::Garbage));
    user.types(&format!("inspect {ID}")).failed(1, &["tokenizer.json", "not what the hub had announced"]);
    assert!(!user.snapshot(COMMIT).join("tokenizer.json").exists());
    server.behave();
    user.types(&format!("inspect {ID}")).ok();
    let tokenizer = fs::read(user.snapshot(COMMIT).join("tokenizer.json")).expect("it is there");
    assert!(tokenizer == model_file("tokenizer.json"));
}

/// Ctrl-C while the server says nothing.
#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_download_at_once() {
    use std::process::{Command, Stdio};
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    server.misbehave(|asked| (is_weights(&asked.path) && asked.method == "GET").then_some(Fault::Stall));
    let child = user.command(["inspect", ID]).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    while !server.asked().iter().any(|asked| is_weights(&asked.path) && asked.method == "GET") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: stopped on request"), "{stderr}");
}

/// A file that must not grow over 512 000 bytes stands for a disk that is full.
#[cfg(unix)]
#[test]
fn a_full_disk_is_named_and_what_was_written_is_kept() {
    use std::process::Command;
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    let full = user.command(["inspect", ID]);
    let mut command = Command::new("bash");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 500; exec \"$0\" \"$@\""])
        .arg(full.get_program())
        .args(full.get_args());
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, value) in full.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    crate::run(command).failed(1, &["blobs", "large"]);
    assert_eq!(fs::metadata(partial(&user)).expect("a file").len(), 500 * 1024);
    server.forget();
    user.types(&format!("inspect {ID}")).ok();
    assert_whole(&user);
    let resumed = server.asked().into_iter().find(|asked| is_weights(&asked.path) && asked.method == "GET");
    assert_eq!(resumed.map(|asked| asked.from), Some(500 * 1024));
}
