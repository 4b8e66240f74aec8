//! Every command, doing what it is for.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{MODEL, bitsmith, folder, listing, typed};

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
    let line = "quantize --rule twn examples/tiny-llama --out {}/t --json --device cpu --method ternary";
    let json = typed(line, folder.path()).json();
    assert_eq!((&json["layers"][0]["scheme"], &json["method"]["settings"]["rule"]), (&"w1.58ts".into(), &"twn".into()));
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
fn what_other_readers_may_not_take_is_said_in_one_line() {
    let folder = folder();
    let line = "quantize examples/tiny-llama --out {}/n --bits 3 --group-size 64 --asymmetric --device cpu";
    let run = typed(line, folder.path()).ok();
    let notes: Vec<_> = run.stderr.lines().filter(|l| l.starts_with("note: ")).collect();
    assert!(matches!(notes[..], [note] if note.contains("3-bit") && note.contains("zero points")), "{run:?}");
    let line = "quantize examples/tiny-llama --out {}/t --group-size 96 --device cpu";
    let run = typed(line, folder.path()).ok();
    let notes: Vec<_> = run.stderr.lines().filter(|l| l.starts_with("note: ")).collect();
    assert!(matches!(notes[..], [note] if note.contains("instead of 96 columns")), "{run:?}");
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
fn int8_activations_tell_their_cost() {
    let folder = folder();
    typed("quantize examples/tiny-llama --out {}/w4 --group-size 32 --quiet --device cpu", folder.path()).ok();
    let line = "eval {}/w4 --text examples/tiny-llama/validation.txt --window 16 --max-tokens 100 --device cpu";
    let text = typed(&format!("{line} --activations int8"), folder.path()).ok().stdout;
    for words in ["int8 where they enter quantized layers", "with exact ones", " % by int8)", "KL to exact ones"] {
        assert!(text.contains(words), "`{words}` is not in {text}");
    }
    let json = typed(&format!("{line} --activations int8 --json"), folder.path()).json();
    let exact = typed(&format!("{line} --json"), folder.path()).json();
    assert_eq!((&json["activations"], &json["reference"]), (&"int8".into(), &"exact-activations".into()));
    assert_eq!((&exact["activations"], exact.get("reference")), (&"exact".into(), None));
    // Two models in one batch or one alone: the same numbers.
    assert_eq!(json["reference_perplexity"], exact["perplexity"]);
    assert!(float(&json, "kl_mean") > 0.0, "{json}");
    // Another model as reference is what was asked for.
    let other =
        typed(&format!("{line} --activations int8 --reference examples/tiny-llama --json"), folder.path()).json();
    assert_eq!(other["reference"], "model");
    assert_eq!(other["perplexity"], json["perplexity"]);
    let generate = "generate {}/w4 --prompt Once --max-tokens 5 --device cpu --activations int8";
    assert!(typed(generate, folder.path()).ok().stdout.starts_with("Once"));
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
fn export_writes_another_format_or_names_the_layer() {
    let folder = folder();
    let model = "tests/golden/families/bitnet-packed";
    let run = typed(&format!("export {model} --format bitnet --out {{}}/again"), folder.path()).ok();
    for words in ["14 layers as bitnet", "bits per weight", "written to"] {
        assert!(run.stdout.contains(words), "`{words}` is not in {run:?}");
    }
    let json = typed("inspect {}/again --json", folder.path()).json();
    assert_eq!((&json["format"], &json["totals"]["quantized_weights"]), (&"bitnet".into(), &14_400.into()));
    typed(&format!("export {model} --format bitnet --out {{}}/again"), folder.path()).failed(2, &["--out"]);
    typed(&format!("export {model} --format bitnet --out {{}}/again --force --quiet"), folder.path()).ok();

    typed("quantize examples/tiny-llama --out {}/w4 --group-size 64 --device cpu --quiet", folder.path()).ok();
    let quantize = "quantize examples/tiny-llama --out {}/no --format bitnet --device cpu";
    for (line, words, hint) in [
        ("export {}/w4 --format bitnet --out {}/no", "_proj as w4g64s in bitnet", "use --method ternary"),
        (quantize, "_proj as w4g128s in bitnet", "use --method ternary"),
        ("export examples/tiny-llama --format bitnet --out {}/no", "without quantized", "bitsmith quantize"),
    ] {
        let run = typed(line, folder.path());
        assert!(run.stderr.contains(hint), "{run:?}");
        run.failed(1, &[words]);
    }
    assert_eq!(listing(folder.path()), ["again", "w4"]);
}

#[test]
fn three_levels_are_found_again_in_two_bits() {
    let folder = folder();
    let quantize = "quantize examples/tiny-llama --device cpu --quiet";
    typed(&format!("{quantize} --method ternary --out {{}}/t"), folder.path()).ok();
    typed("export {}/t --format bitnet --out {}/b --quiet", folder.path()).ok();
    let json = typed("inspect {}/b --json", folder.path()).json();
    assert_eq!((&json["format"], &json["totals"]["quantized_weights"]), (&"bitnet".into(), &786_432.into()));
    let entries = json["entries"].as_array().expect("a list");
    let layer = entries.iter().find(|entry| entry["quantized"] == true).expect("a layer");
    assert_eq!((&layer["scheme"], &layer["input"]), (&"w1.58ts-f32".into(), &"int8 by token".into()));
    assert!(typed("inspect {}/b", folder.path()).ok().stdout.contains("w1.58ts-f32, int8 by token"));
    // Direct and by way of the other format: the same weights.
    typed(&format!("{quantize} --method ternary --format bitnet --out {{}}/d"), folder.path()).ok();
    let [a, b] = ["b", "d"].map(|name| fs::read(folder.path().join(name).join("model.safetensors")).expect("weights"));
    assert!(a == b, "the weights differ");
    // Four levels are not three.
    typed(&format!("{quantize} --bits 2 --group-size tensor --out {{}}/w2"), folder.path()).ok();
    typed("export {}/w2 --format bitnet --out {}/no", folder.path()).failed(1, &["_proj as w2ts"]);
}

#[test]
fn a_limit_is_for_a_gpu() {
    let folder = folder();
    for command in ["generate examples/tiny-llama --prompt Once", "eval examples/tiny-llama --text README.md"] {
        let cpu = format!("{command} --device cpu --gpu-memory-mb 1");
        typed(&cpu, folder.path()).failed(2, &["--gpu-memory-mb", "CPU"]);
        typed(&format!("{command} --cpu-offload"), folder.path()).failed(2, &["required"]);
    }
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
