//! Importance, from a command line to tables, one JSON object and a page.

use std::fs;

use crate::{folder, listing, typed};

const LINE: &str = "importance examples/tiny-llama --calib examples/tiny-llama/calibration.txt --documents <|endoftext|> \
    --samples 2 --seq-len 16 --bits-ladder 4,2 --device cpu";

#[test]
fn layers_are_ranked_in_text_in_json_and_on_a_page() {
    let folder = folder();
    let json = typed(&format!("{LINE} --json --report {{}}/page.html"), folder.path()).json();
    let layers = json["layers"].as_array().expect("a list");
    assert_eq!((layers.len(), json["blocks"].as_array().map(Vec::len)), (28, Some(4)));
    // Two rungs by two measures, and three measures without rungs.
    assert!(layers.iter().all(|layer| layer["findings"].as_array().map(Vec::len) == Some(7)));
    assert_eq!((json["samples"].as_u64(), json["tokens"].as_u64()), (Some(2), Some(30)));
    assert_eq!(json["settings"]["rungs"], serde_json::json!(["w4g32s", "w2g32s"]));
    assert_eq!(json["settings"]["combination"], "40,25,20,15");
    let page = fs::read_to_string(folder.path().join("page.html")).expect("the report is there");
    for layer in layers {
        let path = layer["path"].as_str().expect("a path");
        assert!(page.contains(&format!("<bdi>{path}</bdi>")), "{path}");
    }
    assert!(page.contains("Heat map") && page.contains("rank correlation") && !page.contains("NaN"));

    let text = typed(&format!("{LINE} --measure disable,rtn --weights 1,0,0,0"), folder.path()).ok().stdout;
    let best = text.lines().find(|line| line.starts_with("| model.layers.") && line.contains("proj"));
    assert!(best.expect("the most important layer").contains(" 1.000 "), "{text}");
    for words in ["rtn w4g32s", "disable", "tokens predicted", "blocks computed"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("gradient"), "{text}");
    assert_eq!(listing(folder.path()), ["page.html"]);
}

#[test]
fn what_cannot_be_used_is_named_by_its_flag() {
    let folder = folder();
    for (flags, words) in [
        ("--measure magic", &["--measure: `magic` is not one of rtn"][..]),
        ("--measure rtn,rtn", &["--measure", "twice"]),
        ("--measure upgrade --bits-ladder 4", &["--bits-ladder", "2 at least"]),
        ("--bits-ladder 5", &["--bits-ladder", "`5`"]),
        ("--group-size 7", &["--group-size"]),
        ("--weights 1,2", &["--weights", "40,25,20,15"]),
        ("--weights source --measure noise", &["--weights", "4 bits"]),
        ("--noise 0", &["--noise", "above 0"]),
        ("--seq-len 1", &["--seq-len", "at least 2"]),
        ("--samples 0", &["--samples"]),
        ("--report {}", &["--report", "is no file"]),
    ] {
        let cut = if flags.contains("seq-len") { LINE.replace(" --seq-len 16", "") } else { LINE.to_owned() };
        let ladder = if flags.contains("ladder") { cut.replace(" --bits-ladder 4,2", "") } else { cut };
        let samples = if flags.contains("samples") { ladder.replace(" --samples 2", "") } else { ladder };
        typed(&format!("{samples} {flags}"), folder.path()).failed(2, words);
    }
    typed("importance examples/tiny-llama", folder.path()).failed(2, &["required"]);
    typed(&LINE.replace("examples/tiny-llama --calib", "{}/absent --calib"), folder.path()).failed(1, &["absent"]);
    typed("quantize examples/tiny-llama --out {}/w4 --quiet --device cpu", folder.path()).ok();
    let quantized = LINE.replace("examples/tiny-llama --calib", "{}/w4 --calib");
    typed(&quantized, folder.path()).failed(1, &["quantized already"]);
    assert_eq!(listing(folder.path()), ["w4"]);
}
