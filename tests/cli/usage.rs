//! Help, and what was typed and cannot be used.

use std::fs;
use std::path::Path;

use crate::{MODEL, bitsmith, folder, listing, typed};

#[test]
fn help_has_units_defaults_and_an_example() {
    for (command, words) in [
        (
            "quantize",
            &["--method <NAME>", "--bits <BITS>", "[default: 128]", "rtn: ", "--shard-size <SIZE>", "5GB"][..],
        ),
        (
            "export",
            &[
                "--format <FORMAT>",
                "compressed-tensors, gguf, gguf-tq1_0, gptq, awq, auto-round, mlx,",
                "bitsandbytes, bitnet, onnx]",
                "--out <DIR>",
            ],
        ),
        ("eval", &["--reference <MODEL>", "nats", "--window <TOKENS>", "--documents <SEPARATOR>"]),
        ("generate", &["--temperature <T>", "--top-p <P>", "--seed <SEED>"]),
        ("importance", &["--measure <NAMES>", "[default: 40,25,20,15]", "--bits-ladder <LIST>", "--noise <SHARE>"]),
        ("inspect", &["bits per weight", "--cache-dir <DIR>", "--offline"]),
        ("devices", &["--json"]),
        ("bench", &["--filter <TEXT>", "--prompt-tokens <N>", "[default: 512,", "--kernels", "--quick"]),
    ] {
        let help = bitsmith([command, "--help"]).ok().stdout;
        for word in words.iter().chain(&["Example:\n  bitsmith "]) {
            assert!(help.contains(word), "`{word}` is not in the help of {command}: {help}");
        }
    }
    assert!(bitsmith(["--help"]).ok().stdout.contains("quantize"));
    assert!(bitsmith(["--version"]).ok().stdout.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn bad_usage_exits_with_2_and_writes_nothing() {
    let folder = folder();
    let quantize = "quantize examples/tiny-llama --out {}/x --device cpu";
    for (flags, words) in [
        ("--bits 5", &["--bits", "5", "2, 3, 4, 8"][..]),
        ("--bits four", &["--bits: `four` is not a whole number"]),
        ("--seed -1", &["--seed", "-1 is not in 0"]),
        ("--group-size 7", &["--group-size: `7` is not a number from 16 to 1024"]),
        ("--scale-type f64", &["--scale-type: `f64` is not one of f32"]),
        ("--range wide", &["--range: `wide` is not one of full-range"]),
        ("--range restricted --asymmetric", &["--range", "restricted"]),
        ("--range raw", &["--range", "raw"]),
        ("--rounding up", &["--rounding", "half-even"]),
        ("--method magic", &["--method", "magic"]),
        ("--calib Cargo.toml", &["--calib: rtn learns from no text"]),
        ("--samples 3", &["required"]),
        ("--documents x", &["required"]),
        ("--iters 3", &["--iters is an option of method learned"]),
        ("--method learned", &["--calib: learned learns from a text"]),
        ("--method learned --preset huge", &["--preset: `huge` is not one of light"]),
        ("--method learned --calib Cargo.toml --max-memory-mb 3", &["required"]),
        ("--method learned --calib Cargo.toml --seq-len 1000", &["--seq-len"]),
        ("--method learned --calib Cargo.toml --samples 0", &["--samples: 0"]),
        (
            "--method gradual --calib examples/tiny-llama/calibration.txt --tune-samples 5 --tune-iters 0",
            &["--tune-samples", "--tune-iters 0"],
        ),
        ("--device tpu", &["--device", "tpu"]),
        ("--format zip", &["--format", "zip"]),
        ("--shard-size big", &["--shard-size", "big"]),
        ("--skip re:(", &["--skip", "re:("]),
        ("--nonsense", &["--nonsense"]),
        ("--window 32", &["required"]),
    ] {
        // The last of a flag given twice would be used, so `--device` is only there once.
        let line = if flags.contains("--device") { quantize.replace(" --device cpu", "") } else { quantize.to_owned() };
        typed(&format!("{line} {flags}"), folder.path()).failed(2, words);
    }
    typed("eval examples/tiny-llama", Path::new("")).failed(2, &["required"]);
    let eval = "eval examples/tiny-llama --device cpu --text examples/tiny-llama/validation.txt";
    typed(&format!("{eval} --window 1000 --max-tokens 100"), Path::new("")).failed(2, &["--window", "1000"]);
    typed(&format!("{eval} --window 16 --stride 17"), Path::new("")).failed(2, &["--stride", "17"]);
    typed(&format!("{eval} --activations int4"), Path::new("")).failed(2, &["--activations", "exact or int8"]);
    typed(&format!("{eval} --activations int8"), Path::new("")).failed(2, &["--activations", "quantize it first"]);
    typed(&format!("{eval} --documents="), Path::new("")).failed(2, &["--documents", "empty"]);
    let generate = "generate examples/tiny-llama --prompt Once --device cpu";
    typed(&format!("{generate} --max-tokens 1000"), Path::new("")).failed(2, &["--max-tokens", "256"]);
    typed(&format!("{generate} --activations int8"), Path::new("")).failed(2, &["--activations", "quantize it first"]);
    typed(&format!("{generate} --temperature=-1"), Path::new("")).failed(2, &["--temperature", "-1"]);
    typed(&format!("{generate} --temperature -1"), Path::new("")).failed(2, &["--temperature: -1"]);
    typed(&format!("{generate} --temperature hot"), Path::new("")).failed(2, &["--temperature: `hot` is not a number"]);
    typed(&format!("{generate} --top-p 2"), Path::new("")).failed(2, &["--top-p", "2"]);
    typed("quantise", Path::new("")).failed(2, &["quantise"]);
    assert_eq!(listing(folder.path()), [""; 0]);
}

#[test]
fn an_existing_folder_is_only_replaced_by_force() {
    let folder = folder();
    let line = "quantize examples/tiny-llama --out {}/out --quiet --device cpu";
    typed(line, folder.path()).ok();
    typed(&format!("{line} --bits 8"), folder.path()).failed(2, &["--out", "--force"]);
    typed(&format!("{line} --bits 8 --force"), folder.path()).ok();
    let json = typed("inspect {}/out --json", folder.path()).json();
    assert!(json["entries"].as_array().is_some_and(|e| e.iter().any(|e| e["scheme"] == "w8g128s")), "{json}");
    // What is no model is not deleted, force or not.
    let other = folder.path().join("letters");
    fs::create_dir(&other).expect("a new folder");
    fs::write(other.join("dear.txt"), "friend").expect("a new file");
    typed("quantize examples/tiny-llama --out {}/letters --force --device cpu", folder.path()).failed(2, &["letters"]);
    assert_eq!(listing(&other), ["dear.txt"]);
    assert_eq!(listing(folder.path()), ["letters", "out"]);
}

#[test]
fn what_is_not_there_fails_with_its_name() {
    let folder = folder();
    for line in [
        "quantize {}/absent --out {}/x --device cpu",
        "eval {}/absent --text examples/tiny-llama/validation.txt --device cpu",
        "generate {}/absent --prompt Hello --device cpu",
        "inspect {}/absent",
    ] {
        typed(line, folder.path()).failed(1, &["absent", "no such folder"]);
    }
    let text = "--text {}/absent.txt --device cpu";
    typed(&format!("eval examples/tiny-llama {text}"), folder.path()).failed(1, &["absent.txt"]);
    typed(&format!("quantize examples/tiny-llama --out {{}}/x {text}"), folder.path()).failed(1, &["absent.txt"]);
    typed("eval examples/tiny-llama --reference {}/absent --text Cargo.toml", folder.path()).failed(1, &["absent"]);
    typed("inspect {}", folder.path()).failed(1, &["no weights here"]);
    typed("quantize examples/tiny-llama --out {}/a/b/c --device cpu", folder.path()).failed(2, &["--out", "a/b"]);
    assert_eq!(listing(folder.path()), [""; 0]);
}

/// None of these asks anybody for a model.
#[test]
fn what_is_meant_as_a_path_is_no_name_on_the_hub() {
    for path in ["./tiny", "../tiny", "~/tiny", "a/b/c", "tiny/", "lab/tiny/", "a\\b", "c:tiny", "lab/tiny.safetensors"]
    {
        typed(&format!("inspect {path}"), Path::new("")).failed(1, &[path, "no such folder or file"]);
    }
    let slip = typed("inspect examples/tiny-lama", Path::new("")).failed(1, &["no such folder or file in examples"]);
    assert!(slip.stderr.contains("type examples/tiny-lama@main"), "{slip:?}");
    for name in ["tiny!", "-/tiny", "lab/tiny..w4", "lab/tiny--w4", "lab/tiny.git", "lab/tiny@", "lab/tiny@a..b"] {
        let run = bitsmith(["inspect", "--", name]);
        run.failed(2, &[name, "is no name of a model"]);
    }
}

#[cfg(not(feature = "hub"))]
#[test]
fn a_build_without_downloads_says_so() {
    let folder = folder();
    let run = typed("inspect lab/tiny --cache-dir {}", folder.path()).failed(1, &["lab/tiny", "not in the cache"]);
    assert!(run.stderr.contains("not part of this build"), "{run:?}");
    // What another program has fetched is found.
    let repository = folder.path().join("models--lab--tiny");
    let snapshot = repository.join("snapshots").join("0".repeat(40));
    fs::create_dir_all(&snapshot).expect("a new folder");
    fs::create_dir(repository.join("refs")).expect("a new folder");
    fs::write(repository.join("refs/main"), "0".repeat(40)).expect("a new file");
    fs::copy("examples/tiny-llama/model.safetensors", snapshot.join("model.safetensors")).expect("a copy");
    typed("inspect lab/tiny --cache-dir {}", folder.path()).ok();
}

#[test]
fn a_text_that_is_none_fails_with_its_name() {
    let folder = folder();
    fs::write(folder.path().join("binary"), [b'a', 0xff]).expect("a new file");
    fs::write(folder.path().join("empty"), "").expect("a new file");
    for (name, words) in [("binary", "UTF-8"), ("empty", "no text")] {
        let line = format!("eval examples/tiny-llama --device cpu --text {{}}/{name}");
        typed(&line, folder.path()).failed(1, &[name, words]);
        let line = format!("quantize examples/tiny-llama --out {{}}/x --device cpu --text {{}}/{name}");
        typed(&line, folder.path()).failed(1, &[name, words]);
    }
    assert_eq!(listing(folder.path()), ["binary", "empty"]);
}

/// A system folder in which not even root makes one.
#[cfg(target_os = "linux")]
#[test]
fn an_unwritable_folder_fails_with_its_name() {
    bitsmith(["quantize", MODEL, "--out", "/proc/bitsmith", "--device", "cpu"]).failed(1, &["/proc"]);
}
