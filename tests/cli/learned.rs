//! A method that learns, from a command line to a page.

use std::fs;

use crate::{folder, typed};

const LINE: &str = "quantize examples/tiny-llama --out {}/w2 --device cpu --method learned --preset light --bits 2 \
    --group-size 32 --iters 3 --batch-size 2 --calib examples/tiny-llama/calibration.txt --samples 4 --seq-len 16 \
    --max-documents 50 --documents <|endoftext|>";

#[test]
fn a_learned_model_tells_of_its_blocks() {
    let folder = folder();
    let json = typed(&format!("{LINE} --report {{}}/page.html --json"), folder.path()).json();
    let blocks = json["blocks"].as_array().expect("blocks");
    assert_eq!(blocks.len(), 4);
    assert!(blocks.iter().all(|block| block["loss_before"].is_number() && block["seconds"].is_number()), "{json}");
    // What was typed wins over the preset, which wins over the default; what is recorded is what was used.
    let settings = &json["method"]["settings"];
    assert_eq!((settings["iters"].as_u64(), settings["batch_size"].as_u64()), (Some(3), Some(2)));
    assert!((settings["lr"].as_f64().expect("a rate") - 5e-3).abs() < 1e-9, "{settings}");
    assert_eq!((json["calibration"]["samples"].as_u64(), json["calibration"]["seq_len"].as_u64()), (Some(4), Some(16)));
    // It learns from one text and is measured on another.
    let quality = "--text examples/tiny-llama/validation.txt --window 32 --max-tokens 320";
    let measured = typed(&format!("{LINE} --force {quality} --json"), folder.path()).json();
    assert!(measured["quality"]["perplexity_after"].as_f64() > Some(1.0), "{measured}");
    let page = fs::read_to_string(folder.path().join("page.html")).expect("a page");
    assert!(page.contains("Loss of each block") && page.contains("4 sequences"));
    let text = typed(&format!("{LINE} --force"), folder.path()).ok().stdout;
    assert!(text.contains("block loss") && text.contains("by learned"), "{text}");
    typed("inspect {}/w2", folder.path()).ok();
}
