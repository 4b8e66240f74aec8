//! Texts in rows.

use std::fs;

use crate::{MODEL, folder, listing, typed};

#[test]
fn json_lines_are_evaluated_and_quantized_on() {
    let folder = folder();
    let text = fs::read_to_string(format!("{MODEL}/validation.txt")).expect("it is part of the checkout");
    let stories: Vec<&str> =
        text.split("<|endoftext|>").map(str::trim).filter(|story| !story.is_empty()).take(3).collect();
    let rows: String = stories.iter().map(|story| serde_json::json!({"story": story}).to_string() + "\n").collect();
    fs::write(folder.path().join("x.jsonl"), rows).expect("a new file");
    let cut = "--window 32 --device cpu --json --max-documents 3";
    let of_rows = format!("eval {MODEL} {cut} --text {{}}/x.jsonl --text-field story");
    let of_rows = typed(&of_rows, folder.path()).json();
    let of_plain = format!("eval {MODEL} {cut} --text {MODEL}/validation.txt --documents <|endoftext|>");
    let of_plain = typed(&of_plain, folder.path()).json();
    for key in ["perplexity", "tokens_scored", "text_documents", "text_tokens"] {
        assert_eq!(of_rows[key], of_plain[key], "{key}");
    }
    assert_eq!(of_rows["text_documents"], 3);
    assert!(of_rows["text"].as_str().is_some_and(|text| text.ends_with("x.jsonl")), "{of_rows}");

    let quantize = format!("quantize {MODEL} --out {{}}/w4 --window 32 --device cpu --text {{}}/x.jsonl");
    typed(&quantize, folder.path()).failed(1, &["x.jsonl", "line 1", "no field `text`", "its fields: story"]);
    assert_eq!(listing(folder.path()), ["x.jsonl"]);
    let quantized = typed(&format!("{quantize} --text-field story --json"), folder.path()).json();
    assert_eq!(quantized["evaluation"]["text_sha256"], of_rows["text_sha256"]);
    assert_eq!(quantized["quality"]["perplexity_before"], of_rows["perplexity"]);
    // For people.
    let line = "eval {}/w4 --text {}/x.jsonl --text-field story --window 32 --device cpu --join-rows";
    let told = typed(line, folder.path()).ok().stdout;
    assert!(told.contains("x.jsonl, 1 document of "), "{told}");
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_evaluated_on() {
    let folder = folder();
    let eval = format!("eval {MODEL} --window 16 --device cpu --json --text tests/golden/texts/snappy.parquet");
    let found = typed(&eval, folder.path()).json();
    assert_eq!((&found["text_documents"], &found["text"]), (&4.into(), &"tests/golden/texts/snappy.parquet".into()));
    assert_eq!(found["text_sha256"].as_str().map(str::len), Some(64));
    typed(&format!("{eval} --text-field body"), folder.path())
        .failed(1, &["snappy.parquet", "no column `body`", "id, text"]);
}

#[test]
fn flags_of_a_text_need_one() {
    let quantize = format!("quantize {MODEL} --out {{}}/x --device cpu");
    for flag in ["--documents x", "--max-documents 3", "--text-field story", "--join-rows"] {
        typed(&format!("{quantize} {flag}"), folder().path()).failed(2, &["required"]);
    }
}
