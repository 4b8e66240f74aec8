//! Texts in rows: JSON lines and parquet.

use std::path::{Path, PathBuf};

use bitsmith::io::{TextSource, TokenStream, Tokenizer};
use bitsmith::{Error, Result};

use crate::write;

/// As `tests/golden/make_texts.py` has them, without those that are empty.
#[cfg(feature = "parquet")]
fn rows() -> Vec<String> {
    let long = format!("Long: {}", "tale ".repeat(40));
    ["Once upon a time.", "  Zw\u{f6}lf Boxk\u{e4}mpfer \u{1f600}\n", "Once upon a time.", &long]
        .map(str::to_owned)
        .to_vec()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/texts").join(name)
}

fn read(source: &TextSource, max: Option<usize>) -> Result<Vec<String>> {
    source.documents(None, max)?.collect()
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_read_however_it_is_written() {
    let mut digests = Vec::new();
    for name in ["snappy", "plain", "second-pages", "delta"] {
        let source = TextSource::from(golden(&format!("{name}.parquet")));
        let mut documents = source.documents(None, None).expect("it is there");
        assert_eq!(documents.by_ref().collect::<Result<Vec<_>>>().expect(name), rows(), "{name}");
        digests.push(documents.sha256());
        assert_eq!(read(&source, Some(2)).expect(name), rows()[..2], "{name}");
        let joined = read(&TextSource { joined: true, ..source }, None).expect(name);
        let all = [&rows()[0], "", "", &rows()[1], &rows()[2], &rows()[3]].join("\n\n");
        assert_eq!(joined, [all], "{name}");
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_that_cannot_be_read_is_refused_with_a_remedy() {
    let with = |name: &str, field: &str| TextSource { field: field.to_owned(), ..TextSource::from(golden(name)) };
    for (name, field, words) in [
        ("zstd.parquet", "text", &["zstd.parquet", "zstd is not supported", "snappy"][..]),
        ("snappy.parquet", "body", &["snappy.parquet", "no column `body`", "id, text"]),
        ("snappy.parquet", "id", &["column `id` holds no strings"]),
        ("absent.parquet", "text", &["absent.parquet"]),
    ] {
        let error = read(&with(name, field), None).expect_err(name).to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_parquet_says_so() {
    let error = read(&golden("snappy.parquet").into(), None).expect_err("it cannot be read");
    assert!(matches!(&error, Error::Unsupported { what, .. } if what.contains("snappy.parquet")), "{error}");
}

#[test]
fn files_are_one_text_and_are_read_as_far_as_needed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    write(&path("1.jsonl"), "{\"text\": \"one\"}\n{\"text\": \" \"}\n{\"text\": \"two\"}\n");
    write(&path("2.JSON"), "{\"text\": \"three\"}\n no row at all\n");
    write(&path("3.txt"), "four");
    let source =
        |names: &[&str]| TextSource { files: names.iter().map(|name| path(name)).collect(), ..TextSource::default() };
    let all = source(&["1.jsonl", "2.JSON", "3.txt"]);
    // What is not asked for is not read.
    assert_eq!(read(&all, Some(3)).expect("three rows"), ["one", "two", "three"]);
    let mut documents = all.documents(None, None).expect("files");
    let error = documents.find_map(Result::err).expect("a line that is none").to_string();
    assert!(error.contains("2.JSON") && error.contains("line 2"), "{error}");
    assert!(documents.next().is_none(), "nothing comes after an error");
    assert_eq!(read(&source(&["1.jsonl", "3.txt"]), None).expect("three"), ["one", "two", "four"]);

    let refused = |source: &TextSource, separator| source.documents(separator, None).err().map(|e| e.to_string());
    assert!(refused(&all, Some("")).is_some_and(|e| e.contains("separator is empty")));
    assert!(refused(&TextSource::default(), None).is_some_and(|e| e.contains("no file")));
    let unnamed = TextSource { field: String::new(), ..all };
    assert!(refused(&unnamed, None).is_some_and(|e| e.contains("text_field")));
    assert!(matches!(read(&source(&["1.jsonl"]), Some(0)), Ok(none) if none.is_empty()));
    write(&path("empty.jsonl"), "\n{\"text\": \"\"}");
    let empty = read(&source(&["empty.jsonl"]), None).expect_err("no text");
    assert!(
        matches!(&empty, Error::Format { path, detail } if path.ends_with("empty.jsonl") && detail.contains("no text"))
    );
}

#[test]
fn tokens_of_rows_are_those_of_documents() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny-llama");
    let tokenizer = Tokenizer::read(&model, 512).expect("it has one");
    let folder = tempfile::tempdir().expect("a folder");
    let plain = TextSource::from(model.join("validation.txt"));
    let documents = || plain.documents(Some("<|endoftext|>"), None).expect("a text");
    let rows: Vec<String> = documents().collect::<Result<_>>().expect("a text");
    let lines: Vec<String> = rows.iter().map(|row| serde_json::json!({"story": row}).to_string()).collect();
    let path = folder.path().join("validation.jsonl");
    write(&path, lines.join("\n"));
    let source = TextSource { field: "story".to_owned(), ..TextSource::from(path) };

    let (of_plain, facts) = TokenStream::read(documents(), &tokenizer, usize::MAX).expect("it encodes");
    let whole: Vec<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(of_plain, TokenStream::encode(&whole, &tokenizer).expect("it encodes"));
    assert_eq!((facts.documents, facts.tokens), (200, of_plain.ids().len()));
    let text = bitsmith::io::Text::read(&model.join("validation.txt")).expect("a text");
    assert_eq!(facts.sha256, text.sha256(), "of the file");
    let (of_rows, facts) =
        TokenStream::read(source.documents(None, None).expect("rows"), &tokenizer, usize::MAX).expect("it encodes");
    assert_eq!((of_rows, facts.documents), (of_plain, 200));
}
