//! Plans as files.

use std::fs;

use serde_json::Value;

use crate::{folder, listing, typed};

const QUANTIZE: &str = "quantize examples/tiny-llama --device cpu";

#[test]
fn a_plan_that_was_written_does_the_same_again() {
    let folder = folder();
    let weights = |name: &str| fs::read(folder.path().join(name).join("model.safetensors")).expect("it was written");
    let line =
        format!("{QUANTIZE} --out {{}}/first --bits 3 --group-size 64 --skip down_proj --plan-out {{}}/plan.json");
    let run = typed(&line, folder.path()).ok();
    assert!(run.stdout.contains("plan in "), "{run:?}");
    let plan = fs::read_to_string(folder.path().join("plan.json")).expect("the plan is there");
    assert!(plan.contains(r#""model.layers.0.self_attn.q_proj": "w3g64s""#) && !plan.contains("down_proj"), "{plan}");
    let line = format!("{QUANTIZE} --out {{}}/second --plan {{}}/plan.json --plan-out {{}}/plan.json --json");
    let json = typed(&line, folder.path()).json();
    assert_eq!(json["layers"].as_array().map(Vec::len), Some(4 * 6));
    assert!(json["plan"].as_str().is_some_and(|path| path.ends_with("plan.json")), "{json}");
    assert!(weights("first") == weights("second"));
    assert_eq!(fs::read_to_string(folder.path().join("plan.json")).expect("again"), plan);

    // By hand, one layer by three levels.
    fs::write(folder.path().join("hand.json"), r#"{"layers": {"model.layers.1.mlp.up_proj": "w1.58g32s"}}"#)
        .expect("room");
    let line = format!("{QUANTIZE} --method ternary --out {{}}/third --plan {{}}/hand.json --json");
    let json = typed(&line, folder.path()).json();
    assert_eq!(
        json["layers"].as_array().map(|l| l.iter().map(|l| &l["scheme"]).collect()),
        Some(vec![&Value::from("w1.58g32s")])
    );
}

#[test]
fn a_plan_that_does_not_fit_is_refused() {
    let folder = folder();
    let line = format!("{QUANTIZE} --out {{}}/x");
    for (plan, code, words) in [
        (
            r#"{"layers": {"model.layers.0.mlp.upproj": "w4g32s"}}"#,
            2,
            ["--plan", "the nearest is model.layers.0.mlp.up_proj"],
        ),
        (
            r#"{"layers": {"model.layers.0.mlp.up_proj": "w5g32s"}}"#,
            1,
            ["plan.json", "model.layers.0.mlp.up_proj: bits: 5 is not one of"],
        ),
        (r#"{"layer": {}}"#, 1, ["plan.json", "unknown field `layer`"]),
        (r#"{"layers": {}}"#, 1, ["plan.json", "layers: it names none"]),
        ("{", 1, ["plan.json", "line 1 column 1"]),
    ] {
        fs::write(folder.path().join("plan.json"), plan).expect("room");
        typed(&format!("{line} --plan {{}}/plan.json"), folder.path()).failed(code, &words);
    }
    fs::write(folder.path().join("plan.json"), r#"{"layers": {"model.layers.0.mlp.up_proj": "w4g32s"}}"#)
        .expect("room");
    typed(&format!("{line} --plan {{}}/plan.json --method ternary"), folder.path())
        .failed(2, &["--plan", "three levels"]);
    typed(&format!("{line} --plan {{}}/plan.json --skip q_proj"), folder.path()).failed(2, &["--plan", "--skip"]);
    typed(&format!("{line} --plan {{}}/absent.json"), folder.path()).failed(1, &["absent.json"]);
    typed(&format!("{line} --plan-out {{}}/x/plan.json"), folder.path()).failed(2, &["--plan-out", "--out"]);
    typed(&format!("{line} --plan-out {{}}/no/plan.json"), folder.path())
        .failed(2, &["--plan-out", "cannot be written"]);
    fs::write(folder.path().join("thesis.txt"), "years").expect("room");
    typed(&format!("{line} --plan-out {{}}/thesis.txt"), folder.path()).failed(2, &["--plan-out", "is no plan"]);
    assert_eq!(listing(folder.path()), ["plan.json", "thesis.txt"]);
}

#[test]
fn goals_that_contradict_each_other_are_refused() {
    let folder = folder();
    let line = format!("{QUANTIZE} --out {{}}/x --method gradual");
    for (flags, words) in [
        ("--max-perplexity-increase 5", &["--max-perplexity-increase: `5`", "write 5%"][..]),
        ("--max-perplexity-increase much", &["--max-perplexity-increase", "5% or 0.05"]),
        ("--max-kl=-0.1", &["--max-kl: -0.1", "nats"]),
        ("--target-bits 3 --target-size 2GB", &["--target-size", "target_bits says the size already"]),
        ("--target-bits 3 --max-kl 0.1", &["--target-bits", "a budget how good"]),
        ("--target-memory-reduction 60", &["--target-memory-reduction: 60", "are 0.6"]),
        ("--target-size 1.5GB", &["--target-size: `1.5GB`", "2GiB"]),
        ("--bits-ladder 8,5", &["--bits-ladder: `8,5`: `5` is no rung"]),
        ("--min-group-size 8", &["--min-group-size: 8"]),
        ("--min-group-size 256", &["--min-group-size: 256", "nearest possible is 128"]),
        ("--safety-multiplier 0.5", &["--safety-multiplier: 0.5"]),
        ("--importance-weights 1,2", &["--importance-weights: `1,2`", "40,25,20,15"]),
        ("--split fair", &["--split: `fair`", "loss-per-byte, source"]),
        ("--batch-size 0", &["--batch-size: 0"]),
    ] {
        typed(&format!("{line} {flags}"), folder.path()).failed(2, words);
    }
    assert_eq!(listing(folder.path()), [""; 0]);
}
