//! Runs that end before their work is done.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::process::{Command, Output, Stdio};

use crate::{MODEL, command, folder, listing, typed};

#[test]
fn a_quantized_model_is_not_quantized_again() {
    let folder = folder();
    typed("quantize examples/tiny-llama --out {}/w4 --quiet --device cpu", folder.path()).ok();
    typed("quantize {}/w4 --out {}/w2 --device cpu", folder.path()).failed(1, &["quantized already"]);
    assert_eq!(listing(folder.path()), ["w4"]);
}

/// Ctrl-C while it measures: the layers are kept.
#[cfg(unix)]
#[test]
fn an_interrupt_keeps_what_is_finished() {
    let folder = folder();
    let out = folder.path().join("out");
    let mut args: Vec<&OsStr> =
        ["quantize", MODEL, "--device", "cpu", "--text", "examples/tiny-llama/validation.txt", "--stride", "1"]
            .map(OsStr::new)
            .into();
    args.extend([OsStr::new("--out"), out.as_os_str()]);
    let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    // Copied after the last layer.
    let last = folder.path().join(".out.partial/model/tokenizer.json");
    while !last.exists() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: stopped on request"), "{stderr}");
    assert!(stderr.contains("hint: 38 of 38 tensors are saved"), "{stderr}");
    assert_eq!(listing(folder.path()), [".out.partial"]);
}

/// What a stopped generation printed stays, as a line. It takes a seventh of a second, and on a busy machine a signal may come
/// later than its end: then it is tried again.
#[cfg(unix)]
#[test]
fn a_stopped_generation_ends_its_line() {
    const TRIES: usize = 50;
    for signal in ["INT", "TERM"] {
        let in_time = (0..TRIES).map(|_| stopped_generation(signal)).find(|output| output.status.code() != Some(0));
        let output = in_time.expect("a signal comes in time");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("error: stopped on request"), "{stderr}");
        assert!(stdout.starts_with(" upon a time") && stdout.ends_with('\n'), "{stdout}");
    }
}

/// What came of a generation to which a signal was sent when it had printed `Once`.
#[cfg(unix)]
fn stopped_generation(signal: &str) -> Output {
    let args = ["generate", MODEL, "--device", "cpu", "--prompt", "Once upon a time", "--max-tokens", "200"];
    let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    // A shell that waits for a line is faster than one that must be started.
    let script = format!("read line; kill -s {signal} {}", child.id());
    let mut killer = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("sh is there");
    let mut start = [0; 4];
    child.stdout.as_mut().expect("piped").read_exact(&mut start).expect("the prompt is printed");
    assert_eq!(start, *b"Once");
    killer.stdin.take().expect("piped").write_all(b"\n").expect("it reads");
    let _ = killer.wait().expect("it ends");
    child.wait_with_output().expect("it ends")
}

/// Whoever reads may stop reading.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_panic() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command(["inspect", MODEL]).stdout(writer).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
