//! Texts by the names of datasets.

use std::fs;
use std::path::Path;

use bitsmith::hub::{DatasetId, Hub, Split};
use bitsmith::progress::Silent;

use crate::server::{COMMIT, Fault, Server};
use crate::{MODEL, User, listing, run};

const PILE: &str = "datasets/NeelNanda/pile-10k";
const WIKI: &str = "datasets/Salesforce/wikitext";
const EVAL: &str = "eval examples/tiny-llama --window 32 --device cpu --json";

/// Rows as the tests of parquet have them.
fn parquet() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/texts/snappy.parquet");
    fs::read(path).expect("the file is part of the checkout")
}

fn rows(texts: &[&str]) -> Vec<u8> {
    texts.iter().fold(String::new(), |rows, text| rows + &serde_json::json!({"text": text}).to_string() + "\n").into()
}

fn server() -> Server {
    let server = Server::start();
    server.put(PILE, "README.md", b"---\n---\n");
    server.put(PILE, "data/train-00000-of-00001-4746b8785c874cc7.parquet", &parquet());
    let story = "Once upon a time there was a fox who lived near the river. ".repeat(4);
    for (split, times) in [("train", 3), ("validation", 2), ("test", 1)] {
        let lines: Vec<&str> = std::iter::repeat_n([story.as_str(), ""], times).flatten().collect();
        server.put(WIKI, &format!("wikitext-2-raw-v1/{split}-00000-of-00001.jsonl"), &rows(&lines));
        server.put(WIKI, &format!("wikitext-103-raw-v1/{split}-00000-of-00001.jsonl"), b"never asked for");
    }
    server
}

#[test]
fn a_short_name_is_fetched_once_and_found_again_without_the_hub() {
    let server = server();
    let user = User::of(&server.address());
    let run = user.types(&format!("{EVAL} --text pile-10k")).ok();
    assert!(run.stderr.contains("no split test; its split train is used"), "{run:?}");
    let found = run.json();
    assert_eq!(found["text"], "NeelNanda/pile-10k");
    assert_eq!(found["text_documents"], 4, "{found}");
    assert!(found["text_tokens"].as_u64().is_some_and(|tokens| tokens > 32), "{found}");
    // The cache is laid out as other clients expect.
    let repository = user.path("hub/datasets--NeelNanda--pile-10k");
    assert_eq!(fs::read_to_string(repository.join("refs/main")).expect("a ref"), COMMIT);
    assert_eq!(listing(&repository.join("snapshots").join(COMMIT)), ["data"]);
    assert_eq!(server.sent(), parquet().len(), "nothing else is fetched: {:?}", server.asked());

    server.forget();
    user.types(&format!("{EVAL} --text NeelNanda/pile-10k@main")).ok();
    assert_eq!(server.sent(), 0, "{:?}", server.asked());
    let of_file = user.types(&format!("{EVAL} --text tests/golden/texts/snappy.parquet")).json();
    drop(server);
    let again = user.types(&format!("{EVAL} --text pile-10k --offline")).json();
    for key in ["text_sha256", "perplexity", "tokens_scored"] {
        assert_eq!((&again[key], &of_file[key]), (&found[key], &found[key]), "{key}");
    }
    let unreachable = user.types(&format!("{EVAL} --text pile-10k")).ok();
    assert!(unreachable.stderr.contains("the cache has it"), "{unreachable:?}");
}

#[test]
fn the_split_follows_the_use_and_wikitext_is_one_document() {
    let server = server();
    let user = User::of(&server.address());
    let found = user.types(&format!("{EVAL} --text wikitext-2")).json();
    assert_eq!(
        (&found["text"], &found["text_documents"]),
        (&"Salesforce/wikitext:wikitext-2-raw-v1".into(), &1.into())
    );
    let fetched = user.path("hub/datasets--Salesforce--wikitext/snapshots").join(COMMIT).join("wikitext-2-raw-v1");
    assert_eq!(listing(&fetched), ["test-00000-of-00001.jsonl"]);
    let line = format!("quantize {MODEL} --out {{}}/w4 --device cpu --json --window 32 --text wikitext-2 --offline");
    let quantized = user.types(&line).json();
    assert_eq!(quantized["evaluation"]["text_sha256"], found["text_sha256"]);

    let hub = Hub::from_env().endpoint(server.address()).cache_dir(user.path("hub"));
    let id: DatasetId = "wikitext-2".parse().expect("a short name");
    let files = hub.fetch_dataset(&id, Split::Train, &mut Silent).expect("it is there");
    assert_eq!(files, [fetched.join("train-00000-of-00001.jsonl")]);
    assert_eq!(hub.offline().fetch_dataset(&id, Split::Train, &mut Silent).expect("it is cached"), files);
}

#[test]
fn several_files_are_one_text() {
    let server = Server::start();
    for (name, texts) in [("b", ["three.", "four."]), ("a", ["one.", "two."])] {
        server.put(
            "datasets/lab/texts",
            &format!("data/test/{name}.jsonl"),
            &rows(&texts.map(|text| text.repeat(30)).each_ref().map(String::as_str)),
        );
    }
    server.revision("datasets/lab/texts", "refs/convert/parquet");
    let user = User::of(&server.address());
    let found = user.types(&format!("{EVAL} --text lab/texts@refs/convert/parquet --max-documents 3")).json();
    assert_eq!(found["text_documents"], 3);
    let other = user
        .types(&format!("{EVAL} --text lab/texts:data --text-field body"))
        .failed(1, &["a.jsonl", "line 1", "no field `body`"]);
    assert!(other.stderr.contains("its fields: text"), "{other:?}");
}

#[test]
fn refusals_say_what_to_do() {
    let server = server();
    server.put("datasets/lab/packed", "data.json.gz", b"packed");
    server.put("datasets/lab/packed", "LICENSE.txt", b"do what you like");
    server.put("datasets/lab/rows", "test.parquet", &parquet());
    server.put("datasets/lab/damaged", "test.parquet", b"PAR1\0\0\0\0PAR1");
    let user = User::of(&server.address());
    for (name, code, words) in [
        ("lab/packed", 1, &["lab/packed", "no text in parquet", "data.json.gz", "refs/convert/parquet"][..]),
        ("Salesforce/wikitext", 1, &["several folders", "wikitext-103-raw-v1, wikitext-2-raw-v1", "OWNER/NAME:FOLDER"]),
        ("Salesforce/wikitext:ptb", 1, &["no text", "in ptb", "wikitext-2-raw-v1/"]),
        ("lab/nothing", 1, &["lab/nothing", "no such dataset", "spelling"]),
        ("pile-10k@v9", 1, &["v9", "no branch, tag or commit", "/datasets/NeelNanda/pile-10k/tree/main"]),
        ("lab/damaged", 1, &["test.parquet", "is no parquet file"]),
        ("pile", 2, &["--text", "`pile` is no name of a dataset", "pile-10k, wikitext-2", "nor is it a file"]),
        ("lab/a..b", 2, &["--text", "is no name of a dataset"]),
        ("examples/story", 1, &["no such file in examples", "examples/story@main"]),
        ("texts/a/b", 1, &["texts/a/b", "no such file"]),
        ("lab/texts.jsonl", 1, &["lab/texts.jsonl", "no such file"]),
    ] {
        user.types(&format!("{EVAL} --text {name}")).failed(code, words);
    }
    user.types(&format!("{EVAL} --text pile-10k --offline")).failed(1, &["not in the cache", "once without --offline"]);
    for (status, code, words) in [
        (401, "GatedRepo", &["gated", "/datasets/lab/rows", "HF_TOKEN"][..]),
        (401, "", &["no such dataset", "HF_TOKEN"]),
        (500, "", &["500", "later"]),
    ] {
        server.misbehave(move |asked| asked.path.contains("/resolve/").then_some(Fault::Status(status, code)));
        user.types(&format!("{EVAL} --text lab/rows")).failed(1, words);
    }
    server.behave();
    let mut command = user.command(user.words(&format!("{EVAL} --text lab/rows")));
    command.env("HF_TOKEN", "hf_secret");
    server.forget();
    run(command).ok();
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.token.is_some() != asked.path.starts_with("/cdn/")), "{asked:?}");
}

#[test]
fn a_download_that_broke_goes_on() {
    let server = server();
    let user = User::of(&server.address());
    let cut = std::sync::atomic::AtomicBool::new(true);
    server.misbehave(move |asked| {
        let first = asked.path.starts_with("/cdn/") && asked.method == "GET";
        (first && cut.swap(false, std::sync::atomic::Ordering::Relaxed)).then_some(Fault::Cut(1000))
    });
    user.types(&format!("{EVAL} --text pile-10k")).ok();
    assert_eq!(server.sent(), parquet().len(), "each byte once: {:?}", server.asked());
}
