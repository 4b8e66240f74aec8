//! The program as people run it: what it prints, where, and how it ends.
#![allow(clippy::expect_used, reason = "a test says what it needs")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const TEXT: &str = "examples/tiny-llama/validation.txt";
const MODEL: &str = "examples/tiny-llama";

/// How a run ended and what it said.
#[derive(Debug)]
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the program from the folder of the crate.
fn bitsmith<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    let output = command(args).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
    let code = output.status.code().expect("no signal ends the program");
    let run = Run { code, stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(!run.stderr.contains("panicked"), "{run:?}");
    run
}

fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitsmith"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// As [`bitsmith`], from one line whose words have no spaces, with `{}` for `path`.
fn typed(line: &str, path: &Path) -> Run {
    bitsmith(line.split_whitespace().map(|word| word.replace("{}", path.to_str().expect("UTF-8 path"))))
}

impl Run {
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Failed with this code, nothing on standard output and all of `words` in the first line of standard error.
    #[track_caller]
    fn failed(self, code: i32, words: &[&str]) -> Self {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        let message = self.stderr.lines().find(|line| line.starts_with("error: "));
        let message = message.unwrap_or_else(|| panic!("no message in {self:?}"));
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
        self
    }

    /// The one JSON object that is all of standard output.
    #[track_caller]
    fn json(self) -> Value {
        let run = self.ok();
        let value: Value = serde_json::from_str(&run.stdout).expect("standard output is one JSON value");
        assert!(value.is_object(), "{value}");
        value
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Names of what is in a folder, hidden files included.
fn listing(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("readable").file_name()).collect();
    names.sort();
    names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

/// A copy of the example model to damage.
fn model_in(folder: &Path) -> PathBuf {
    let copy = folder.join("model");
    fs::create_dir(&copy).expect("a new folder");
    for name in
        ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(MODEL).join(name);
        fs::copy(from, copy.join(name)).expect("the example model is there");
    }
    copy
}

fn float(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

#[test]
fn quantize_reports_sizes_and_worst_layers() {
    let folder = folder();
    let run = typed("quantize examples/tiny-llama --out {}/w4 --group-size 64 --device cpu", folder.path()).ok();
    for words in ["28 layers by rtn", "1.71 MB -> ", "times smaller", "bits per weight", "SQNR", "written to"] {
        assert!(run.stdout.contains(words), "`{words}` is not in {run:?}");
    }
    assert_eq!(run.stdout.matches("SQNR").count(), 3, "{run:?}");
    assert_eq!(listing(folder.path()), ["w4"]);
    let names = listing(&folder.path().join("w4"));
    for name in ["bitsmith.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
    }
}

#[test]
fn quantize_is_silent_when_asked() {
    let folder = folder();
    let run = typed("quantize examples/tiny-llama --out {}/q --bits 3 --quiet --device cpu", folder.path()).ok();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
}

#[test]
fn quantize_measures_what_it_cost() {
    let folder = folder();
    let line = "quantize examples/tiny-llama --out {}/w2 --bits 2 --group-size 32 --asymmetric --device cpu --json \
                --text examples/tiny-llama/validation.txt --window 32 --max-tokens 128 --documents <|endoftext|>";
    let json = typed(line, folder.path()).json();
    assert_eq!(json["method"]["name"], "rtn");
    assert_eq!(json["method"]["settings"]["bits"], 2);
    assert_eq!(json["layers"].as_array().map(Vec::len), Some(28));
    assert_eq!(json["layers"][0]["scheme"], "w2g32a");
    let evaluation = &json["evaluation"];
    assert_eq!(evaluation["tokens_scored"], 4 * 31);
    let (before, after) = (float(&json["quality"], "perplexity_before"), float(&json["quality"], "perplexity_after"));
    assert!(1.0 < before && before < after, "{before} -> {after}");
    assert_eq!(after, float(evaluation, "perplexity"));
    assert!(float(evaluation, "kl_mean") > 0.0, "{evaluation}");
    // What is in bitsmith.json is the same.
    let file = fs::read_to_string(folder.path().join("w2/bitsmith.json")).expect("the record is there");
    let record: Value = serde_json::from_str(&file).expect("the record is JSON");
    for (key, value) in record.as_object().expect("an object") {
        assert_eq!(&json[key], value, "{key}");
    }
}

#[test]
fn a_method_and_its_flags_may_stand_in_any_order() {
    let folder = folder();
    let line =
        "quantize --bits=8 --group-size channel examples/tiny-llama --method=rtn --out {}/w8 --json --device cpu";
    assert_eq!(typed(line, folder.path()).json()["layers"][0]["scheme"], "w8cs");
}

#[test]
fn skipped_layers_are_kept_and_a_pattern_that_matches_nothing_warns() {
    let folder = folder();
    let line = r"quantize examples/tiny-llama --out {}/s --json --device cpu --skip mlp.down_proj --skip typo_proj
                 --skip re:model\.layers\.[01]\.";
    let run = typed(line, folder.path()).ok();
    assert!(run.stderr.lines().any(|l| l.starts_with("warning: ") && l.contains("typo_proj")), "{run:?}");
    assert!(!run.stderr.contains("down_proj"), "{run:?}");
    // Two of four blocks are left, each with seven layers less the one that is kept.
    assert_eq!(run.json()["layers"].as_array().map(Vec::len), Some(2 * 6));
}

#[test]
fn eval_prints_a_table_or_one_json_object() {
    let line =
        "eval examples/tiny-llama --text examples/tiny-llama/validation.txt --window 16 --max-tokens 100 --device cpu";
    let text = typed(line, Path::new("")).ok().stdout;
    for words in ["perplexity", " ± ", "tokens scored", "text sha256"] {
        assert!(text.contains(words), "`{words}` is not in {text}");
    }
    let json = typed(&format!("{line} --stride 8 --reference examples/tiny-llama --json"), Path::new("")).json();
    for key in ["perplexity", "kl_mean", "kl_p99", "top1_agreement", "seconds"] {
        float(&json, key);
    }
    // The windows start at 0, 8, …, 80; each scores what none before it held.
    assert_eq!(json["tokens_scored"], 15 + 10 * 8);
    assert_eq!(json["window"], 16);
    assert_eq!(json["text_sha256"].as_str().map(str::len), Some(64));
    assert!(json["device"].as_str().is_some_and(|device| device.contains("CPU")), "{json}");
    // A model is no distance from itself.
    assert_eq!((float(&json, "kl_max"), float(&json, "top1_agreement")), (0.0, 1.0));
    assert_eq!(json["perplexity"], json["reference_perplexity"]);
}

#[test]
fn generate_streams_text_and_repeats_itself() {
    let prompt = ["generate", MODEL, "--prompt", "Once upon a time", "--max-tokens", "12", "--device", "cpu"];
    let run = bitsmith(prompt).ok();
    assert!(run.stdout.starts_with("Once upon a time, there was a"), "{run:?}");
    assert!(run.stderr.contains("tokens/s"), "{run:?}");
    let json = bitsmith(prompt.iter().chain(&["--json"])).json();
    assert_eq!(format!("Once upon a time{}\n", json["text"].as_str().unwrap_or_default()), run.stdout);
    assert_eq!(json["tokens"].as_array().map(Vec::len), Some(12));
    // The beginning token is first.
    assert_eq!(json["prompt_tokens"][0], 1);
    float(&json, "tokens_per_second");

    let sampled =
        |seed| bitsmith(prompt.iter().chain(&["--temperature", "2", "--top-p", "0.9", "--seed", seed])).ok().stdout;
    assert_eq!(sampled("7"), sampled("7"));
    assert_ne!(sampled("7"), sampled("8"));
}

#[test]
fn inspect_lists_tensors_and_quantized_layers() {
    let folder = folder();
    let json = typed("inspect examples/tiny-llama --json", Path::new("")).json();
    assert_eq!((float(&json["totals"], "weights"), float(&json["totals"], "bits_per_weight")), (853_120.0, 16.0));
    typed("quantize examples/tiny-llama --out {}/w4 --quiet --device cpu", folder.path()).ok();
    let json = typed("inspect {}/w4 --json", folder.path()).json();
    assert_eq!(json["format"], "compressed-tensors");
    let entries = json["entries"].as_array().expect("a list");
    // 28 layers, 9 norms and the embedding.
    assert_eq!(entries.len(), 38);
    let layer = entries.iter().find(|e| e["name"] == "model.layers.3.mlp.down_proj").expect("the layer is there");
    assert_eq!((&layer["scheme"], &layer["shape"]), (&"w4g128s".into(), &serde_json::json!([128, 384])));
    // 4 bits, an f16 scale for each 128 weights, and the two 64-bit numbers of the shape.
    assert_eq!(float(layer, "bits_per_weight"), 4.0 + 16.0 / 128.0 + 128.0 / (128.0 * 384.0));
    let file = typed("inspect {}/w4/model.safetensors", folder.path()).ok();
    assert!(file.stdout.contains("model.layers.3.mlp.down_proj.weight_packed"), "{}", file.stdout);
}

#[test]
fn devices_lists_the_processor_as_working() {
    let json = typed("devices --json", Path::new("")).json();
    let cpu = &json["devices"][0];
    assert_eq!((&cpu["device"], &cpu["kind"], &cpu["self_test"]), (&"cpu".into(), &"cpu".into(), &true.into()));
    let text = typed("devices", Path::new("")).ok().stdout;
    assert!(text.starts_with("cpu\n") && text.contains("simd") && text.contains("self-test"), "{text}");
}

#[test]
fn help_has_units_defaults_and_an_example() {
    for (command, words) in [
        (
            "quantize",
            &["--method <NAME>", "--bits <BITS>", "[default: 128]", "rtn: ", "--shard-size <SIZE>", "5GB"][..],
        ),
        ("eval", &["--reference <MODEL>", "nats", "--window <TOKENS>", "--documents <SEPARATOR>"]),
        ("generate", &["--temperature <T>", "--top-p <P>", "--seed <SEED>"]),
        ("inspect", &["bits per weight"]),
        ("devices", &["--json"]),
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
        ("--bits four", &["--bits", "four"]),
        ("--group-size 7", &["--group-size", "7", "16 to 1024"]),
        ("--scale-type f64", &["--scale-type", "f64"]),
        ("--range restricted --asymmetric", &["--range", "restricted"]),
        ("--range raw", &["--range", "raw"]),
        ("--rounding up", &["--rounding", "half-even"]),
        ("--method magic", &["--method", "magic"]),
        ("--calibration pile", &["--calibration", "pile"]),
        ("--device tpu", &["--device", "tpu"]),
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
    typed(&format!("{eval} --documents="), Path::new("")).failed(2, &["--documents", "empty"]);
    let generate = "generate examples/tiny-llama --prompt Once --device cpu";
    typed(&format!("{generate} --max-tokens 1000"), Path::new("")).failed(2, &["--max-tokens", "256"]);
    typed(&format!("{generate} --temperature=-1"), Path::new("")).failed(2, &["--temperature", "-1"]);
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

/// Damages the model with `damage`, then expects commands that read that part to fail with these words, leaving nothing.
fn damaged(commands: &[&str], words: &[&str], damage: impl FnOnce(&Path)) {
    let folder = folder();
    damage(&model_in(folder.path()));
    for command in commands {
        typed(&format!("{command} --device cpu"), folder.path()).failed(1, words);
        assert_eq!(listing(folder.path()), ["model"], "{command}");
    }
}

const QUANTIZE: &str = "quantize {}/model --out {}/out";
const QUANTIZE_AND_MEASURE: &str =
    "quantize {}/model --out {}/out --text examples/tiny-llama/validation.txt --max-tokens 64 --window 32";
const EVAL: &str = "eval {}/model --text examples/tiny-llama/validation.txt --max-tokens 64 --window 32";
const GENERATE: &str = "generate {}/model --prompt Once --max-tokens 4";

#[test]
fn truncated_weights_fail_cleanly() {
    for keep in [0, 4, 8, 100, 4000, 1_000_000, 1_710_287] {
        damaged(&[QUANTIZE, EVAL, GENERATE], &["model.safetensors"], |model| {
            let path = model.join("model.safetensors");
            let bytes = fs::read(&path).expect("weights");
            fs::write(&path, &bytes[..keep]).expect("writable");
        });
    }
}

#[test]
fn missing_shards_fail_cleanly() {
    damaged(&[QUANTIZE, EVAL, GENERATE], &["index.json", "absent.safetensors"], |model| {
        fs::remove_file(model.join("model.safetensors")).expect("removable");
        let index = r#"{"metadata":{},"weight_map":{"model.norm.weight":"absent.safetensors"}}"#;
        fs::write(model.join("model.safetensors.index.json"), index).expect("writable");
    });
}

/// Sets a field of a JSON file.
fn set(file: &Path, field: &str, value: Value) {
    let mut json: Value = serde_json::from_slice(&fs::read(file).expect("readable")).expect("JSON");
    json[field] = value;
    fs::write(file, json.to_string()).expect("writable");
}

#[test]
fn a_bad_config_fails_cleanly() {
    let commands = [QUANTIZE_AND_MEASURE, EVAL, GENERATE];
    for (field, value) in [
        ("hidden_size", 0.into()),
        ("hidden_size", "many".into()),
        ("num_hidden_layers", (-1).into()),
        ("num_key_value_heads", 3.into()),
        ("rms_norm_eps", 0.into()),
        ("hidden_act", "magic".into()),
        ("vocab_size", Value::Null),
        ("max_position_embeddings", 1e30.into()),
    ] {
        damaged(&commands, &["config.json", field], |model| set(&model.join("config.json"), field, value));
    }
    // Values that are possible, but not for these weights.
    for (field, value) in [("intermediate_size", 385), ("vocab_size", 513), ("num_hidden_layers", 5), ("head_dim", 64)]
    {
        damaged(&commands, &["model"], |model| set(&model.join("config.json"), field, value.into()));
    }
    damaged(&commands, &["gpt5"], |model| set(&model.join("config.json"), "model_type", "gpt5".into()));
    for text in ["", "[]", "{\"hidden_size\": 1", "\u{0}"] {
        damaged(&[QUANTIZE, EVAL, GENERATE], &["config.json"], |model| {
            fs::write(model.join("config.json"), text).expect("writable");
        });
    }
    damaged(&[QUANTIZE, EVAL, GENERATE], &["config.json"], |model| {
        fs::remove_file(model.join("config.json")).expect("removable");
    });
}

#[test]
fn a_tokenizer_of_another_model_fails_cleanly() {
    damaged(&[QUANTIZE_AND_MEASURE, EVAL, GENERATE], &["tokenizer.json", "embedding"], |model| {
        let path = model.join("tokenizer.json");
        let mut json: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        let mut added = json["added_tokens"][0].clone();
        (added["id"], added["content"]) = (600.into(), "<extra>".into());
        json["added_tokens"].as_array_mut().expect("a list").push(added);
        json["model"]["vocab"]["<extra>"] = 600.into();
        fs::write(&path, json.to_string()).expect("writable");
    });
    for text in ["", "{}", "{\"model\": 3}"] {
        damaged(&[QUANTIZE_AND_MEASURE, EVAL, GENERATE], &["tokenizer.json"], |model| {
            fs::write(model.join("tokenizer.json"), text).expect("writable");
        });
    }
}

#[test]
fn a_weight_that_is_no_number_fails_with_its_place() {
    damaged(&[QUANTIZE], &["model.layers.", "NaN"], |model| {
        let path = model.join("model.safetensors");
        let mut bytes = fs::read(&path).expect("weights");
        // bf16 NaNs over the middle of the file, which the projections fill.
        let middle = bytes.len() / 2 / 2 * 2;
        bytes[middle..middle + 4000].fill(0xff);
        fs::write(&path, &bytes).expect("writable");
    });
}

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
        ["quantize", MODEL, "--device", "cpu", "--text", TEXT, "--stride", "1"].map(OsStr::new).into();
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
