//! Runs that end before their work is done.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::{MODEL, command, folder, listing, typed};

#[test]
fn a_quantized_model_is_not_quantized_again() {
    let folder = folder();
    typed("quantize examples/tiny-llama --out {}/w4 --quiet --device cpu", folder.path()).ok();
    typed("quantize {}/w4 --out {}/w2 --device cpu", folder.path()).failed(1, &["quantized already"]);
    assert_eq!(listing(folder.path()), ["w4"]);
}

/// Ctrl-C while it measures: the half-made folder goes away.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing() {
    let folder = folder();
    let out = folder.path().join("out");
    let mut args: Vec<&OsStr> =
        ["quantize", MODEL, "--device", "cpu", "--text", "examples/tiny-llama/validation.txt", "--stride", "1"]
            .map(OsStr::new)
            .into();
    args.extend([OsStr::new("--out"), out.as_os_str()]);
    let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    // It listens before it makes the folder under its temporary name.
    while listing(folder.path()).is_empty() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: stopped on request"), "{stderr}");
    assert_eq!(listing(folder.path()), [""; 0]);
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
