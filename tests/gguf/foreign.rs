//! A file that the gguf package wrote.

use std::path::Path;

use bitsmith::io::{Checkpoint, Tokenizer, read_config};
use bitsmith::model::Model;
use bitsmith::report::Inspection;
use bitsmith::{Device, Recorder};
use serde::Deserialize;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gguf/foreign.gguf");
/// Sums of at most 256 products, in another order than torch's: relative to the largest logit.
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    tokens: Vec<u32>,
    logits: Vec<f32>,
}

#[test]
fn its_logits_are_those_of_its_decoded_weights() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/gguf/foreign.json")).unwrap();
    let model = Model::open(Path::new(FILE), &Device::cpu()).unwrap();
    let mut cache = model.cache(1, 16).unwrap();
    let mut rec = Recorder::new(model.device());
    let hidden = model.hidden(&mut rec, &golden.tokens, &mut cache).unwrap();
    let logits = model.logits(&mut rec, &hidden).unwrap();
    rec.submit().unwrap();
    let found = pollster::block_on(logits.read(model.device())).unwrap();
    assert_eq!(found.len(), golden.logits.len());
    let largest = golden.logits.iter().fold(0f32, |most, v| most.max(v.abs()));
    let off = found.iter().zip(&golden.logits).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(off <= TOLERANCE * largest, "{off} of {largest}");
}

#[test]
fn its_tensors_and_layers_are_listed() {
    let inspection = Inspection::read(Path::new(FILE)).unwrap();
    assert_eq!(inspection.format.as_deref(), Some("gguf"));
    let scheme = |name: &str| {
        let entry = inspection.entries.iter().find(|entry| entry.name == name).unwrap();
        (entry.scheme.clone(), entry.quantized)
    };
    assert_eq!(scheme("model.layers.0.self_attn.q_proj"), ("w4g32s".into(), true));
    assert_eq!(scheme("model.layers.0.mlp.down_proj"), ("w1.58g256s".into(), true));
    assert_eq!(scheme("model.layers.1.mlp.down_proj.weight"), ("Q2_K".into(), false));
    assert_eq!(scheme("model.layers.1.self_attn.v_proj.weight"), ("BF16".into(), false));
    assert_eq!(scheme("model.embed_tokens.weight"), ("Q8_0".into(), false));
    assert!(inspection.notes.iter().any(|note| note.contains("computed with in f32")), "{:?}", inspection.notes);
    let checkpoint = Checkpoint::open(Path::new(FILE)).unwrap();
    assert_eq!(checkpoint.tensor("model.embed_tokens.weight").unwrap().shape(), [96, 64]);
    assert_eq!(read_config(Path::new(FILE)).unwrap()["tie_word_embeddings"], false);
}

#[test]
fn its_tokenizer_merges_by_score() {
    let tokenizer = Tokenizer::read(Path::new(FILE), 96).unwrap();
    // A space before the text; `▁ab` is worth less than `ab`, which is made first.
    let ids = tokenizer.encode("ab ab", true).unwrap();
    assert_eq!(ids, [1, 95, 95]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "ab ab");
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_ids()), (Some(1), &[2][..]));
}
