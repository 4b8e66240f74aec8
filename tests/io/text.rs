//! Tokenizers and text, on a small tokenizer that is written here: `<s>`, bytes, a few words.

use std::path::Path;

use bitsmith::io::{Text, TokenStream, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{refused, write};

const VOCAB_SIZE: usize = 268;

/// A tokenizer in the manner of Llama 2: byte fallback, `<s>` first, spaces as a visible mark.
fn definition() -> Value {
    let mut vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2});
    for byte in 0..256 {
        vocab[format!("<0x{byte:02X}>")] = json!(byte + 3);
    }
    for (piece, id) in ["▁", "h", "i", "t", "▁h", "▁hi", "hi", "▁t", "ti"].iter().zip(259..) {
        vocab[piece] = json!(id);
    }
    let special = |id: u32, text: &str| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 6}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "<unk>"},
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": ["▁ h", "▁h i", "h i", "▁ t", "t i"]},
    })
}

fn parse(definition: &Value, vocab_size: usize) -> bitsmith::Result<Tokenizer> {
    Tokenizer::parse("tokenizer.json".as_ref(), definition.to_string().as_bytes(), vocab_size)
}

fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("tokenizer.json"), definition().to_string());
    for (name, value) in files {
        write(&folder.path().join(name), value.to_string());
    }
    folder
}

#[test]
fn text_to_ids_and_back() {
    let tokenizer = parse(&definition(), VOCAB_SIZE).unwrap();
    assert_eq!(tokenizer.encode("hi hi", false).unwrap(), [264, 264]);
    // The file asks for 4 tokens at most and for padding to 6; a text is neither cut nor padded.
    assert_eq!(tokenizer.encode("hi hi hi hi ti", true).unwrap(), [1, 264, 264, 264, 264, 266, 261]);
    assert_eq!(tokenizer.encode("é", true).unwrap(), [1, 259, 3 + 0xc3, 3 + 0xa9]);
    assert_eq!(tokenizer.decode(&[1, 264, 264, 259, 3 + 0xc3, 3 + 0xa9, 2]).unwrap(), "hi hi é");
}

#[test]
fn beginning_and_end_tokens() {
    let read = |files: &[(&str, Value)]| {
        let tokenizer = Tokenizer::read(folder(files).path(), VOCAB_SIZE).unwrap();
        (tokenizer.bos_id(), tokenizer.eos_ids().to_vec())
    };
    assert_eq!(read(&[]), (None, vec![]));
    let settings = json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": false});
    assert_eq!(read(&[("tokenizer_config.json", settings)]), (Some(1), vec![2]));
    let config = ("config.json", json!({"bos_token_id": 1, "eos_token_id": [2, 5]}));
    let generation = ("generation_config.json", json!({"eos_token_id": 7}));
    assert_eq!(read(&[config, generation]), (Some(1), vec![2, 5, 7]));
}

#[test]
fn ids_outside_the_embedding_are_refused() {
    let parts = ["tokenizer.json", "token id 267", "embedding of 200 rows"];
    refused("small embedding", parse(&definition(), 200), &parts);
    let config = ("config.json", json!({"eos_token_id": 900}));
    refused("end token", Tokenizer::read(folder(&[config]).path(), VOCAB_SIZE), &["token id 900"]);
    let mut template = definition();
    template["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([4_000_000]);
    refused("template", parse(&template, VOCAB_SIZE), &["token id 4000000", "268 rows"]);
}

#[test]
fn malformed_tokenizers_are_refused() {
    let changed = |pointer: &str, value: Value| {
        let mut definition = definition();
        *definition.pointer_mut(pointer).unwrap() = value;
        definition.to_string()
    };
    let cases = [
        ("empty", String::new()),
        ("cut off", definition().to_string()[..500].to_string()),
        ("a list", "[]".into()),
        ("an empty object", "{}".into()),
        ("unknown model", changed("/model/type", json!("Magic"))),
        ("merge of unknown pieces", changed("/model/merges", json!(["x y"]))),
        ("negative id", changed("/model/vocab/h", json!(-1))),
        ("template names no token", changed("/post_processor/special_tokens", json!({}))),
        ("bad pattern", changed("/normalizer/normalizers/1/pattern", json!({"Regex": "("}))),
    ];
    for (name, text) in cases {
        let result = Tokenizer::parse("tokenizer.json".as_ref(), text.as_bytes(), VOCAB_SIZE);
        refused(name, result, &["tokenizer.json"]);
    }
    let empty = tempfile::tempdir().unwrap();
    refused("absent", Tokenizer::read(empty.path(), VOCAB_SIZE), &["tokenizer.json"]);
    let bad = folder(&[]);
    write(&bad.path().join("tokenizer_config.json"), "nonsense");
    refused("bad settings", Tokenizer::read(bad.path(), VOCAB_SIZE), &["tokenizer_config.json", "not JSON"]);
}

fn streamed(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) -> String {
    let mut stream = tokenizer.decode_stream(prompt);
    let mut text: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    text += &stream.finish().unwrap();
    text
}

#[test]
fn characters_are_given_out_whole() {
    let tokenizer = parse(&definition(), VOCAB_SIZE).unwrap();
    let mut stream = tokenizer.decode_stream(&[1, 264]);
    let pieces: Vec<_> = [264, 3 + 0xc3, 3 + 0xa9, 266].iter().map(|id| stream.push(*id).unwrap()).collect();
    assert_eq!(pieces, [" hi", "", "é", " t"]);
    stream.push(3 + 0xe2).unwrap();
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
}

proptest! {
    #[test]
    fn streaming_gives_the_whole_text(text in "[hit éß漢🙂]{0,30}", cut in 0usize..30) {
        let tokenizer = parse(&definition(), VOCAB_SIZE).unwrap();
        let ids = tokenizer.encode(&text, true).unwrap();
        prop_assert_eq!(&tokenizer.decode(&ids).unwrap(), &text);
        prop_assert_eq!(&streamed(&tokenizer, &[], &ids), &text);
        // A prompt ends where a character ends.
        let prompt: String = text.chars().take(cut).collect();
        let prompt = tokenizer.encode(&prompt, true).unwrap();
        let rest: Vec<u32> = tokenizer.encode("hi é🙂", false).unwrap();
        let all = [prompt.as_slice(), &rest].concat();
        let whole = tokenizer.decode(&all).unwrap();
        let told = tokenizer.decode(&prompt).unwrap();
        prop_assert_eq!(told + &streamed(&tokenizer, &prompt, &rest), whole);
    }
}

fn text(content: impl AsRef<[u8]>) -> bitsmith::Result<Text> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.txt");
    write(&path, content);
    Text::read(&path)
}

#[test]
fn documents_and_digest() {
    let text = text("  hi|\n\n|ti \u{a0}|hi hi|").unwrap();
    assert_eq!(text.documents(Some("|"), None).unwrap(), ["hi", "ti", "hi hi"]);
    assert_eq!(text.documents(Some("|"), Some(2)).unwrap(), ["hi", "ti"]);
    assert_eq!(text.documents(None, None).unwrap(), [text.content()]);
    refused("no separator", text.documents(Some(""), None), &["documents", "empty"]);
    refused("none wanted", text.documents(Some("|"), Some(0)), &["no text"]);

    let tokenizer = parse(&definition(), VOCAB_SIZE).unwrap();
    let documents = text.documents(Some("|"), None).unwrap();
    let mut stream = TokenStream::encode(&documents, &tokenizer).unwrap();
    assert_eq!(stream.ids(), [1, 264, 1, 266, 261, 1, 264, 264]);
    stream.truncate(3);
    assert_eq!(stream.ids(), [1, 264, 1]);

    // The digest of FIPS 180-2, appendix B.1.
    let abc = self::text("abc").unwrap();
    assert_eq!(abc.sha256(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn bad_text_is_refused() {
    refused("no UTF-8", text(b"good\xff"), &["text.txt", "byte 4"]);
    refused("cut character", text(b"\xc3"), &["byte 0"]);
    refused("empty", text("").unwrap().documents(None, None), &["text.txt", "no text"]);
    refused("absent", Text::read(Path::new("no-such-file")), &["no-such-file"]);
}

proptest! {
    /// One changed byte of a good file is refused or gives a tokenizer that keeps its promises.
    #[test]
    fn damaged_tokenizers_do_no_harm(at in 0usize..100_000, value in any::<u8>()) {
        let mut bytes = definition().to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(tokenizer) = Tokenizer::parse("tokenizer.json".as_ref(), &bytes, VOCAB_SIZE)
            && let Ok(ids) = tokenizer.encode("hi é ti", true)
        {
            prop_assert!(ids.iter().all(|id| (*id as usize) < VOCAB_SIZE));
            let _ = tokenizer.decode(&ids);
        }
    }
}
