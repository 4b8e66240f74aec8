//! Attention, loss and KL against vectors of torch in f64 (`golden/ops.json`, made by `golden/make_ops.py`).

use bitsmith::op::{self, Activations, AttentionShape, KvCache, RowCache};
use bitsmith::{Device, Recorder};
use serde_json::Value;

/// A few roundings of f32 of sums whose terms are about 1; relative to larger results.
const TOLERANCE: f32 = 2e-6;
/// Relative to the result, however small: KL is a sum of terms of one sign.
const KL_TOLERANCE: f32 = 2e-5;

fn golden(operation: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ops.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all[operation].clone()
}

fn size(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn numbers(tensor: &Value) -> Vec<f32> {
    serde_json::from_value(tensor["data"].clone()).unwrap()
}

fn rows(device: &Device, tensor: &Value) -> Activations {
    Activations::upload(device, size(&tensor["shape"][0]), size(&tensor["shape"][1]), &numbers(tensor)).unwrap()
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= TOLERANCE * e.abs().max(1.0), "{f}, not {e}");
    }
}

/// `[head, token, dim]` as `[token, head, dim]`.
fn by_token(values: &[f32], heads: usize, tokens: usize, dim: usize) -> Vec<f32> {
    let at = |i: usize| ((i / dim % heads) * tokens + i / dim / heads) * dim + i % dim;
    (0..heads * tokens * dim).map(|i| values[at(i)]).collect()
}

#[test]
fn attention() {
    let (device, g) = (Device::cpu(), golden("attention"));
    let [heads, kv_heads, head_dim, tokens, past] = ["heads", "kv_heads", "dim", "q_len", "past"].map(|k| size(&g[k]));
    let q = by_token(&numbers(&g["q"]), heads, tokens, head_dim);
    let q = Activations::upload(&device, tokens, heads * head_dim, &q).unwrap();
    let cached = |name| {
        let values = by_token(&numbers(&g[name]), kv_heads, past + tokens, head_dim);
        let buffer = device.upload(&values).unwrap();
        RowCache { buffer, sequences: 1, capacity: past + tokens, cols: kv_heads * head_dim }
    };
    let cache = KvCache { keys: cached("k"), values: cached("v") };
    let scale = 1.0 / (head_dim as f32).sqrt();
    let shape = AttentionShape { sequences: 1, heads, kv_heads, head_dim, past, scale, window: None };
    let mut rec = Recorder::new(&device);
    let out = op::attention(&mut rec, &q, &cache, &shape).unwrap();
    rec.submit().unwrap();
    assert_near(&pollster::block_on(out.read(&device)).unwrap(), &numbers(&g["y_rows"]));
}

#[test]
fn nll() {
    let (device, g) = (Device::cpu(), golden("nll"));
    let targets: Vec<u32> = serde_json::from_value(g["targets"]["data"].clone()).unwrap();
    let mut rec = Recorder::new(&device);
    let losses = op::nll(&mut rec, &rows(&device, &g["logits"]), &targets).unwrap();
    rec.submit().unwrap();
    assert_near(&pollster::block_on(device.read(&losses)).unwrap(), &numbers(&g["y"]));
}

#[test]
fn kl() {
    let (device, g) = (Device::cpu(), golden("kl"));
    let mut rec = Recorder::new(&device);
    let out = op::kl(&mut rec, &rows(&device, &g["p_logits"]), &rows(&device, &g["q_logits"])).unwrap();
    rec.submit().unwrap();
    let out: Vec<f32> = pollster::block_on(device.read(&out)).unwrap();
    let forward: Vec<f32> = out.chunks(3).map(|row| row[0]).collect();
    for (f, e) in forward.iter().zip(numbers(&g["y"])) {
        assert!((f - e).abs() <= KL_TOLERANCE * e, "{f:e}, not {e:e}");
    }
}
