//! Malformed weights: name, bytes, what the message must hold.

use bitsmith::io::{Checkpoint, Header, Index};
use proptest::prelude::*;

use crate::{refused, safetensors, write};

fn tensor(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

fn pair(first: &str, second: &str) -> String {
    let member = |offsets: &str| format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":{offsets}}}"#);
    format!(r#"{{"a":{},"b":{}}}"#, member(first), member(second))
}

fn cases() -> Vec<(&'static str, Vec<u8>, Vec<&'static str>)> {
    let length = |n: u64, rest: &[u8]| [&n.to_le_bytes(), rest].concat();
    let file = |header: &str, data: usize| safetensors(header, &vec![0; data]);
    vec![
        ("empty file", vec![], vec!["0 bytes are too few"]),
        ("cut in the length", vec![8, 0, 0], vec!["3 bytes are too few"]),
        ("header beyond the file", length(1000, b"{}"), vec!["header of 1000 bytes in a file of 10", "cut off"]),
        ("header one byte too long", length(3, b"{}"), vec!["cut off"]),
        ("header over the limit", length(100_000_001, b"{}"), vec!["100000000 are allowed"]),
        ("header of all ones", length(u64::MAX, b"{}"), vec!["18446744073709551615 bytes"]),
        ("no JSON", file("nonsense", 0), vec!["header:", "line 1"]),
        ("no UTF-8", length(4, b"{\"\xff\xfe"), vec!["header:"]),
        ("a list", file("[]", 0), vec!["a JSON object"]),
        ("text after the object", file("{} {}", 0), vec!["header:", "trailing"]),
        (
            "deep nesting",
            file(&format!(r#"{{"w":{{"shape":{}"#, "[".repeat(5000)), 0),
            vec!["header:", "`w`", "recursion"],
        ),
        ("name twice", file(&pair("[0,4]", "[4,8]").replace("\"b\"", "\"a\""), 8), vec!["`a` occurs twice"]),
        (
            "field twice",
            file(r#"{"w":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, 1),
            vec!["`w`", "`dtype` occurs twice"],
        ),
        ("tensor no object", file(r#"{"w":3}"#, 0), vec!["`w`", "a JSON object"]),
        ("no dtype", file(r#"{"w":{"shape":[1],"data_offsets":[0,1]}}"#, 1), vec!["tensor `w`", "dtype"]),
        ("no shape", file(r#"{"w":{"dtype":"U8","data_offsets":[0,1]}}"#, 1), vec!["tensor `w`", "shape"]),
        ("no offsets", file(r#"{"w":{"dtype":"U8","shape":[1]}}"#, 1), vec!["tensor `w`", "data_offsets"]),
        ("unknown dtype", file(&tensor("F7", "[1]", "[0,1]"), 1), vec!["tensor `w`", "\"F7\" is unknown", "BF16"]),
        ("negative extent", file(&tensor("U8", "[-1]", "[0,1]"), 1), vec!["tensor `w`", "-1"]),
        ("fractional extent", file(&tensor("U8", "[1.5]", "[0,1]"), 1), vec!["tensor `w`", "1.5"]),
        ("extent over 64 bits", file(&tensor("U8", "[18446744073709551616]", "[0,1]"), 1), vec!["tensor `w`"]),
        (
            "shape overflows 64 bits",
            file(&tensor("F32", "[4294967296,4294967296]", "[0,0]"), 0),
            vec!["tensor `w`", "no possible size"],
        ),
        (
            "shape overflows 128 bits",
            file(&tensor("F32", "[18446744073709551615,18446744073709551615,4]", "[0,0]"), 0),
            vec!["no possible size"],
        ),
        ("part of a byte", file(&tensor("F4", "[3]", "[0,1]"), 1), vec!["F4", "no possible size"]),
        ("size for another dtype", file(&tensor("F32", "[2]", "[0,4]"), 4), vec!["takes 8 bytes", "span 4"]),
        ("offsets backwards", file(&tensor("U8", "[1]", "[1,0]"), 1), vec!["`w`", "run backwards"]),
        ("offsets outside", file(&tensor("U8", "[9]", "[0,9]"), 8), vec!["`w`", "beyond the 8 bytes"]),
        (
            "offsets near the end of 64 bits",
            file(&tensor("U8", "[1]", "[18446744073709551614,18446744073709551615]"), 1),
            vec!["beyond"],
        ),
        ("three offsets", file(&tensor("U8", "[1]", "[0,1,2]"), 1), vec!["tensor `w`"]),
        ("overlap", file(&pair("[0,4]", "[3,7]"), 7), vec!["tensor `b`", "overlaps", "by 1"]),
        ("same place", file(&pair("[0,4]", "[0,4]"), 4), vec!["tensor `b`", "overlaps"]),
        ("gap at the start", file(&pair("[1,5]", "[5,9]"), 9), vec!["tensor `a`", "1 bytes before"]),
        ("gap between", file(&pair("[0,4]", "[6,10]"), 10), vec!["tensor `b`", "2 bytes before"]),
        ("rest at the end", file(&pair("[0,4]", "[4,8]"), 9), vec!["1 bytes after the last tensor"]),
        ("data cut off", file(&pair("[0,4]", "[4,8]"), 7), vec!["tensor `b`", "beyond the 7 bytes"]),
        ("metadata with a number", file(r#"{"__metadata__":{"format":1}}"#, 0), vec!["__metadata__", "`format`"]),
    ]
}

#[test]
fn malformed_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, parts) in cases() {
        let path = folder.path().join("model.safetensors");
        write(&path, &bytes);
        let mut parts = parts.clone();
        parts.push("model.safetensors");
        refused(name, Checkpoint::open(folder.path()), &parts);
        refused(name, Header::parse(&path, &bytes, bytes.len() as u64), &parts);
    }
}

#[test]
fn well_formed_files_are_read() {
    let header = r#"{"__metadata__":{"shape":"any","format":"pt"},
        "late":{"dtype":"I64","shape":[1],"data_offsets":[2,10]},
        "none":{"dtype":"F32","shape":[0,7],"data_offsets":[2,2]},
        "scalar":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}   "#;
    let bytes = safetensors(header, &[0; 10]);
    let header = Header::parse("x".as_ref(), &bytes, bytes.len() as u64).unwrap();
    let names: Vec<_> = header.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["scalar", "none", "late"]);
    assert!(Header::parse("x".as_ref(), &safetensors("{}", &[]), 10).unwrap().tensors.is_empty());
}

#[test]
fn index_and_shards_must_agree() {
    let a = || safetensors(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, &[1]);
    let both = || {
        let header = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
        safetensors(header, &[1, 2])
    };
    type Files = Vec<(&'static str, Vec<u8>)>;
    let map = |text: &str| format!(r#"{{"metadata":{{}},"weight_map":{text}}}"#);
    let cases: Vec<(&str, String, Files, &[&str])> = vec![
        ("no JSON", "{".into(), vec![], &["index.json", "line 1"]),
        ("no map", "{}".into(), vec![], &["index.json", "weight_map"]),
        ("empty map", map("{}"), vec![], &["lists no tensor"]),
        ("map of numbers", map(r#"{"a":1}"#), vec![], &["`a`", "string"]),
        ("tensor twice", map(r#"{"a":"1.st","a":"2.st"}"#), vec![], &["`a` occurs twice"]),
        ("shard missing", map(r#"{"a":"1.st"}"#), vec![], &["shard 1.st is missing"]),
        ("outside", map(r#"{"a":"../1.st"}"#), vec![], &["tensor `a`", "../1.st", "no file of this folder"]),
        ("absolute", map(r#"{"a":"/etc/passwd"}"#), vec![], &["tensor `a`", "no file of this folder"]),
        ("no name", map(r#"{"a":""}"#), vec![], &["tensor `a`", "no file of this folder"]),
        (
            "not in its shard",
            map(r#"{"a":"1.st","b":"1.st"}"#),
            vec![("1.st", a())],
            &["tensor `b` is not in its shard 1.st"],
        ),
        (
            "not in the index",
            map(r#"{"a":"1.st"}"#),
            vec![("1.st", both())],
            &["1.st", "tensor `b` is not in the index"],
        ),
        (
            "in two shards",
            map(r#"{"a":"1.st","b":"2.st"}"#),
            vec![("1.st", a()), ("2.st", both())],
            &["2.st", "tensor `a` is also in", "1.st"],
        ),
        ("shard cut off", map(r#"{"a":"1.st"}"#), vec![("1.st", a()[..20].to_vec())], &["1.st", "cut off"]),
    ];
    for (name, index, files, parts) in cases {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("model.safetensors.index.json"), index);
        for (file, bytes) in files {
            write(&folder.path().join(file), bytes);
        }
        refused(name, Checkpoint::open(folder.path()), parts);
    }
}

#[test]
fn what_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    refused("no weights", Checkpoint::open(folder.path()), &["neither model.safetensors nor"]);
    refused("no folder", Checkpoint::open(&folder.path().join("none")), &["none"]);
    std::fs::create_dir(folder.path().join("model.safetensors")).unwrap();
    refused("a folder", Checkpoint::open(folder.path()), &["model.safetensors", "not a regular file"]);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), claimed in any::<u64>()) {
        let _ = Header::parse("x".as_ref(), &bytes, bytes.len() as u64);
        let _ = Header::parse("x".as_ref(), &bytes, claimed);
        let _ = Index::parse("x".as_ref(), &bytes);
    }

    /// One changed byte, or a cut, of a good file never panics, and never yields a tensor outside the file.
    #[test]
    fn damage_is_survived(at in 0usize..1000, value in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = safetensors(&pair("[0,4]", "[4,8]"), &[7; 8]);
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = value }
        if let Ok(header) = Header::parse("x".as_ref(), &bytes, bytes.len() as u64) {
            prop_assert!(header.tensors.iter().all(|t| t.range.end <= bytes.len()));
        }
    }
}
