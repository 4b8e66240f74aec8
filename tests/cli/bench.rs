//! `bitsmith bench`: what it prints; never how fast.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{Run, folder, typed};

/// Numbers go to JSON and back on their way between two processes, which may move the last digit.
const LAST_DIGIT: f64 = 1e-14;

const KERNELS: &str = "bench --quick --device cpu --filter matvec_group/x_f32.codes_dense.zero_middle.scale_f16";
const TEXT: &str =
    "--text examples/tiny-llama/validation.txt --documents <|endoftext|> --max-documents 4 --window 64 --device cpu";

#[track_caller]
fn float(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

/// The cells of every row of the Markdown tables in a text, titles and rules left out.
#[track_caller]
fn tables(text: &str) -> Vec<Vec<Vec<String>>> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")).expect("a row between bars");
        inner.split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    let mut tables = Vec::new();
    for block in text.split("\n\n").filter(|block| block.starts_with('|')) {
        let rows: Vec<Vec<String>> = block.lines().map(cells).collect();
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{block}");
        assert!(rows[1].iter().all(|rule| rule.trim_end_matches(':').chars().all(|c| c == '-')), "{block}");
        tables.push([&rows[..1], &rows[2..]].concat());
    }
    tables
}

#[test]
fn kernels_are_one_json_object() {
    let folder = folder();
    let json = typed(&format!("{KERNELS} --json --out {{}}/bench.json"), folder.path()).json();
    assert_eq!((&json["scale"], &json["bitsmith"]), (&"quick".into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(json["date"].as_str().map(str::len), Some("2026-01-01".len()));
    let devices = json["devices"].as_array().expect("a list");
    assert!(matches!(&devices[..], [cpu] if cpu["device"] == "cpu" && cpu["backend"] == "cpu"), "{json}");
    assert!(float(&devices[0]["copy"], "gb_s") > 0.0 && float(&devices[0], "threads") >= 1.0, "{json}");
    let rows = devices[0]["rows"].as_array().expect("a list");
    assert!(!rows.is_empty(), "{json}");
    for row in rows {
        assert_eq!(row["kernel"], "matvec_group");
        // Dense products are timed too, though the filter leaves them out.
        for key in ["seconds", "gb_s", "share_of_copy", "gflop_s", "times_dense_f32", "times_dense_f16"] {
            assert!(float(row, key) > 0.0, "{key} of {row}");
        }
        assert!(float(row, "seconds_fastest") <= float(row, "seconds_slowest"), "{row}");
    }
    let file = fs::read_to_string(folder.path().join("bench.json")).expect("the file is there");
    assert_eq!(serde_json::from_str::<Value>(&file).expect("JSON"), json);
}

#[test]
fn kernels_are_a_markdown_table() {
    let run = typed(KERNELS, Path::new("")).ok();
    assert_eq!(run.stderr, "");
    for words in ["bitsmith", " thread", "quick sizes", "Copy: ", " GB/s"] {
        assert!(run.stdout.contains(words), "`{words}` is not in {run:?}");
    }
    let tables = tables(&run.stdout);
    let [table] = &tables[..] else { panic!("{tables:?}") };
    assert_eq!(table[0][3..], ["µs", "GB/s", "of copy", "GFLOP/s", "x dense f32", "x dense f16"]);
    for row in &table[1..] {
        assert_eq!(row[0], "matvec_group");
        let number = |cell: &String| cell.trim_end_matches(" %").parse::<f64>().is_ok();
        assert!(row[3..].iter().all(number), "{row:?}");
    }
}

#[test]
fn models_stand_side_by_side() {
    let folder = folder();
    typed("quantize examples/tiny-llama --out {}/w4 --quiet --device cpu", folder.path()).ok();
    let line = format!("bench examples/tiny-llama {{}}/w4 {TEXT} --quick --prompt-tokens 16 --decode-tokens 4");
    let json = typed(&format!("{line} --json"), folder.path()).json();
    let models = json["models"].as_array().expect("a list");
    let [dense, quantized] = &models[..] else { panic!("{json}") };
    for (model, path) in [(dense, "examples/tiny-llama"), (quantized, "{}/w4")] {
        assert_eq!((float(model, "submissions_per_token"), float(model, "dispatches_per_token")), (1.0, 67.0));
        for key in ["disk_bytes", "weight_bytes", "peak_device_bytes", "load_seconds", "overhead", "perplexity"] {
            assert!(float(model, key) > 0.0, "{key} of {model}");
        }
        if cfg!(target_os = "linux") {
            assert!(float(model, "peak_resident_bytes") > float(model, "peak_device_bytes"), "{model}");
        }
        for part in ["prompt", "decode"] {
            assert!(float(&model[part], "slowest") <= float(&model[part], "fastest"), "{model}");
        }
        let kernels = model["kernels"].as_array().expect("a list");
        let sum = |key| kernels.iter().map(|kernel| float(kernel, key)).sum::<f64>();
        assert_eq!(sum("dispatches"), 67.0);
        assert!((sum("share") - 1.0).abs() < 1e-9, "{model}");
        let eval = typed(&format!("eval {path} {TEXT} --json"), folder.path()).json();
        assert!((float(model, "perplexity") / float(&eval, "perplexity") - 1.0).abs() < LAST_DIGIT, "{model} {eval}");
        assert_eq!(model["tokens_scored"], eval["tokens_scored"]);
    }
    assert!(quantized["kernels"].to_string().contains("matvec_group"), "{quantized}");
    assert!(!dense["kernels"].to_string().contains("matvec_group"), "{dense}");
    let ratio = float(quantized, "weight_bytes") / float(dense, "weight_bytes");
    assert!(ratio < 0.4 && (ratio - float(&json["ratios"], "weight_bytes")).abs() < LAST_DIGIT, "{json}");
}

#[test]
fn models_are_a_markdown_table() {
    let one = "bench examples/tiny-llama --device cpu --quick --prompt-tokens 8 --decode-tokens 2";
    let titles = |line: &str| -> Vec<Vec<Vec<String>>> {
        let run = typed(line, Path::new("")).ok();
        assert_eq!(run.stderr, "");
        tables(&run.stdout)
    };
    let tables = titles(&one.replace("tiny-llama ", "tiny-llama examples/tiny-llama "));
    let [table] = &tables[..] else { panic!("{tables:?}") };
    assert_eq!(table[0], ["", "tiny-llama", "tiny-llama", "second / first"]);
    let row = |name: &str| table.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("no {name} in {table:?}"));
    assert_eq!(row("weights in files")[1..], ["1.71 MB", "1.71 MB", "1.000"]);
    assert_eq!(row("submissions a token")[1..3], ["1", "1"]);
    assert!(table.iter().all(|row| row[0] != "perplexity"), "{table:?}");

    let tables = titles(&format!("{one} --kernels"));
    let [measures, kernels] = &tables[..] else { panic!("{tables:?}") };
    assert_eq!(measures[0], ["", "tiny-llama"]);
    assert_eq!(kernels[0], ["kernel", "dispatches", "µs, tiny-llama", "share"]);
    assert!(kernels.iter().any(|row| row[0] == "attention" && row[1] == "4"), "{kernels:?}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let folder = folder();
    let failed = |line: &str, code, words: &[&str]| -> Run { typed(line, folder.path()).failed(code, words) };
    failed("bench --quick --filter typo", 2, &["--filter", "typo", "matvec_group"]);
    failed("bench --quick --device tpu", 2, &["--device", "tpu"]);
    failed("bench examples/tiny-llama --device all", 2, &["--device", "one device"]);
    failed("bench examples/tiny-llama --filter add", 2, &["--filter"]);
    failed("bench --quick --threads 0", 2, &["--threads", "0"]);
    failed("bench --prompt-tokens 4", 2, &["required"]);
    failed("bench examples/tiny-llama --prompt-tokens 300", 2, &["--prompt-tokens", "300", "256"]);
    failed("bench examples/tiny-llama --decode-tokens 0", 2, &["--decode-tokens", "0"]);
    failed("bench examples/tiny-llama --window 32", 2, &["required"]);
    failed("bench examples/tiny-llama {}/absent", 1, &["absent"]);
    failed("bench examples/tiny-llama --text {}/absent.txt --device cpu", 1, &["absent.txt"]);
    // What only the process that measures finds out ends this one alike, and is said once.
    let model = folder.path().join("model");
    fs::create_dir(&model).expect("a new folder");
    for name in ["config.json", "model.safetensors"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(crate::MODEL).join(name);
        let bytes = fs::read(from).expect("the example model is there");
        fs::write(model.join(name), &bytes[..bytes.len().min(100_000)]).expect("writable");
    }
    let run = failed("bench {}/model --device cpu", 1, &["model.safetensors"]);
    assert_eq!(run.stderr.matches("error: ").count(), 1, "{run:?}");
}
