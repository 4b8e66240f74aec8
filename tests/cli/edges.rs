//! The edges of what may be typed, read and written.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Stdio;

use crate::{MODEL, bitsmith, command, folder, listing, typed};

#[test]
fn paths_with_spaces_and_any_letters() {
    let folder = folder();
    let (model, out) = (folder.path().join("ünï cödé/mein modell 模型"), folder.path().join("aus gabe – 1"));
    fs::create_dir_all(&model).expect("a new folder");
    for name in listing(Path::new(MODEL)) {
        fs::copy(Path::new(MODEL).join(&name), model.join(&name)).expect("a copy");
    }
    let text = model.join("validation.txt");
    let [model, out, text] = [&model, &out, &text].map(|p| p.to_str().expect("UTF-8"));
    let cut = ["--text", text, "--window", "16", "--max-tokens", "64", "--device", "cpu", "--json"];
    let json = bitsmith([&["quantize", model, "--out", out], &cut[..]].concat()).json();
    assert_eq!((json["out"].as_str(), json["model"].as_str()), (Some(out), Some("mein modell 模型")));
    bitsmith([&["eval", out, "--reference", model], &cut[..]].concat()).json();
    bitsmith(["inspect", out]).ok();
    bitsmith(["generate", out, "--prompt", "Öl – 模", "--max-tokens", "3", "--device", "cpu"]).ok();
}

#[test]
fn texts_that_fill_no_window() {
    let folder = folder();
    for (name, text) in [("short", "hi"), ("blank", " \n\t\n"), ("empty", ""), ("mark", "\u{feff}")] {
        fs::write(folder.path().join(name), text).expect("a new file");
    }
    let eval = |rest: &str| typed(&format!("eval examples/tiny-llama --device cpu --text {{}}/{rest}"), folder.path());
    eval("short").failed(2, &["--window", "256 tokens", "the text has only 3"]);
    eval("short --window 2").ok();
    eval("blank").failed(2, &["--window", "the text has only 5"]);
    eval("blank --documents x").failed(1, &["blank", "no text"]);
    eval("empty").failed(1, &["empty", "no text"]);
    eval("mark --window 64").failed(2, &["--window", "the text has only"]);
    for (window, words) in [("1", "at least 2"), ("0", "at least 2"), ("18446744073709551615", "context is 256")] {
        eval(&format!("short --window {window}")).failed(2, &["--window", window, words]);
    }
    eval("short --max-tokens 0").failed(2, &["the text has only 0"]);
    eval(".").failed(1, &["is not a regular file"]);
}

#[test]
fn generations_of_any_length() {
    let generate = |prompt: &str, tokens: &str| {
        bitsmith(["generate", MODEL, "--device", "cpu", "--prompt", prompt, "--max-tokens", tokens])
    };
    // The tokenizer adds a beginning token.
    assert!(!generate("", "3").ok().stdout.trim().is_empty());
    assert_eq!(generate("Once", "0").ok().stdout, "Once\n");
    generate("Once", "18446744073709551615").failed(2, &["--max-tokens", "context is 256"]);
    generate(&"Once upon a time. ".repeat(200), "1").failed(2, &["context is 256"]);
}

#[cfg(feature = "wgpu")]
#[test]
fn an_adapter_that_is_not_there_is_named() {
    for device in ["wgpu:99", "wgpu:18446744073709551615"] {
        let run = bitsmith(["generate", MODEL, "--prompt", "a", "--device", device]);
        run.failed(2, &["--device", device, "is not there", "bitsmith devices"]);
    }
}

/// A disk without room for a byte.
#[cfg(target_os = "linux")]
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("Linux has it").into()
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_nobody_can_store_is_an_error() {
    let generate = ["generate", MODEL, "--prompt", "a", "--max-tokens", "2", "--device", "cpu"];
    for args in [&["inspect", MODEL][..], &["inspect", MODEL, "--json"], &generate] {
        let output = command(args).stdout(full()).output().expect("the program starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("error: standard output: "), "{args:?}: {stderr}");
    }
    for args in [["--help"], ["--version"]] {
        let status = command(args).stdout(full()).status().expect("the program starts");
        assert_eq!(status.code(), Some(1), "{args:?}");
    }
}

/// What cannot be said on standard error changes no result and no exit code.
#[cfg(target_os = "linux")]
#[test]
fn messages_that_nobody_can_store_are_lost() {
    let generate = ["generate", MODEL, "--prompt", "a", "--max-tokens", "2", "--device", "cpu"];
    for (args, code) in [(&generate[..], 0), (&["inspect", "absent"], 1), (&["inspect"], 2)] {
        let output = command(args).stderr(full()).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert_eq!(output.stdout.is_empty(), code != 0, "{args:?}");
    }
}
