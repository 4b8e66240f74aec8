//! Layers as blocks.

use std::collections::BTreeMap;

use bitsmith::export::gguf::Gguf;
use bitsmith::export::{Exporter, Fit, LayerSpec, ReadBack, Stored, TensorSource, importer};
use bitsmith::scheme::uniform;
use bitsmith::{Dtype, PackedTensor, QuantizedTensor, Scheme};
use proptest::prelude::*;
use serde_json::{Value, json};

const PATH: &str = "model.layers.0.self_attn.q_proj";

/// A Llama of two heads with as many features as the layers here have rows.
fn exporter(rows: usize) -> Gguf {
    let config = json!({
        "model_type": "llama", "hidden_size": rows, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 32, "max_position_embeddings": 32,
    });
    Gguf::of(&config).unwrap()
}

struct Memory(BTreeMap<String, (String, Vec<usize>, Vec<u8>)>);

impl TensorSource for Memory {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.keys().map(String::as_str))
    }

    fn find(&self, name: &str) -> bitsmith::Result<Option<Stored<'_>>> {
        let tensor = self.0.get(name);
        Ok(tensor.map(|(dtype, shape, bytes)| Stored { dtype, shape: shape.clone(), bytes }))
    }
}

fn written(format: &Gguf, weight: &PackedTensor) -> Memory {
    let layer = LayerSpec::of(PATH, weight);
    let specs = format.tensors(&layer, Dtype::F32).unwrap();
    let encoded = format.encode(&layer, weight, Dtype::F32).unwrap();
    let tensor = |(spec, (name, bytes)): (bitsmith::io::TensorSpec, (String, Vec<u8>))| {
        assert_eq!((&spec.name, spec.bytes().unwrap()), (&name, bytes.len() as u64));
        (name, (spec.dtype.name().to_owned(), spec.shape, bytes))
    };
    Memory(specs.into_iter().zip(encoded).map(tensor).collect())
}

fn packed(
    scheme: &str,
    rows: usize,
    cols: usize,
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Option<Vec<u8>>,
) -> PackedTensor {
    let scheme: Scheme = scheme.parse().unwrap();
    PackedTensor::pack(&QuantizedTensor::new(scheme, rows, cols, codes, scales, zeros).unwrap())
}

/// A layer of pseudo-random codes, scales and zero points.
fn layer(scheme: &str, rows: usize, cols: usize, seed: u32) -> PackedTensor {
    let parsed: Scheme = scheme.parse().unwrap();
    let (groups, bits) = (parsed.groups(rows, cols).count(), parsed.bits());
    let code = |i: usize| ((uniform(seed, i as u32) * 256.0) as u8 & bits.max_code()).max(bits.min_code());
    let scale = |i: usize| parsed.scale_type().round(uniform(seed ^ 1, i as u32) + 0.01);
    let zeros = (!parsed.is_symmetric()).then(|| (0..groups).map(|i| code(i + rows * cols)).collect());
    packed(scheme, rows, cols, (0..rows * cols).map(code).collect(), (0..groups).map(scale).collect(), zeros)
}

/// The layer that `make_gguf.py` gives the gguf package, in codes.
fn vector(name: &str) -> PackedTensor {
    let (scheme, block, levels, low) = match name {
        "Q4_0" => ("w4g32s", 32, 16, 0),
        "Q4_1" => ("w4g32a", 32, 16, 0),
        "Q8_0" => ("w8g32s", 32, 256, 1),
        _ => ("w1.58g256s", 256, 3, 0),
    };
    let code = |i: usize| match i % block {
        0 => low,
        1 => (levels - 1) as u8,
        _ => low + ((((i as u64 * 2_654_435_761) & 0xffff_ffff) >> 13 & 255) % (levels - u64::from(low))) as u8,
    };
    let count = 4 * 512 / block;
    // Trits are kept as t + 2.
    let more = u8::from(levels == 3);
    let codes = (0..4 * 512).map(|i| code(i) + more).collect();
    let scales = (0..count).map(|g| (1024 + (g * 40503) % 1024) as f32 / 65536.0).collect();
    let zeros = (name == "Q4_1").then(|| (0..count).map(|g| (g * 7 % 16) as u8).collect());
    packed(scheme, 4, 512, codes, scales, zeros)
}

#[test]
fn whole_layers_are_those_of_the_gguf_package() {
    let golden: BTreeMap<String, String> = serde_json::from_str(include_str!("../golden/gguf/layers.json")).unwrap();
    for (name, expected) in &golden {
        let format = Gguf::default().named(if name == "TQ1_0" { "gguf-tq1_0" } else { "gguf" });
        let memory = written(&format, &vector(name));
        let (dtype, _, bytes) = &memory.0[&format!("{PATH}.weight")];
        assert_eq!(dtype, name);
        let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(found == *expected, "{name} differs from the package's bytes");
    }
    // Both ternary types hold the same layer.
    let bytes = |name: &str| -> Vec<u8> {
        let hex = golden[name].as_bytes().chunks(2);
        hex.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    };
    let read = |name: &str| {
        let stored = (name.to_owned(), vec![4, 512], bytes(name));
        let memory = Memory([(format!("{PATH}.weight"), stored)].into());
        importer(&json!({"quant_method": "gguf"}), "x.gguf".as_ref()).unwrap().decode(PATH, &memory).unwrap()
    };
    assert_eq!(read("TQ1_0"), vector("TQ1_0"));
    assert_eq!(read("TQ2_0"), vector("TQ1_0"));
}

/// Schemes, and what a reader gives back.
const HELD: [(&str, &str); 12] = [
    ("w4g32s", "w4g32s"),
    ("w4g64s", "w4g32s"),
    ("w4g256s", "w4g32s"),
    ("w4cs", "w4g32s"),
    ("w3g32s", "w4g32s"),
    ("w4g32a", "w4g32a"),
    ("w4ca", "w4g32a"),
    ("w3g64a", "w4g32a"),
    ("w8g32s", "w8g32s"),
    ("w8ts", "w8g32s"),
    ("w1.58g256s", "w1.58g256s"),
    ("w1.58g32s", "w4g32s"),
];

fn values(weight: &PackedTensor) -> Vec<f32> {
    weight.unpack().unwrap().dequantize()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_written_reads_back(rows in 1..4_usize, cols in 1..3_usize, seed in any::<u32>()) {
        let (rows, cols) = (4 * rows, 256 * cols);
        let format = exporter(rows);
        for (scheme, back) in HELD {
            let weight = layer(scheme, rows, cols, seed);
            let config = format.config(&[LayerSpec::of(PATH, &weight)], &[]).unwrap();
            let reader = importer(&config, "model.gguf".as_ref()).unwrap();
            let memory = written(&format, &weight);
            let layers = reader.layers(&memory).unwrap();
            prop_assert_eq!(layers.len(), 1);
            prop_assert_eq!(layers[0].scheme.to_string(), back, "{}", scheme);
            prop_assert_eq!(format.read_back(&LayerSpec::of(PATH, &weight)), ReadBack::Codes);
            let found = reader.decode(PATH, &memory).unwrap();
            let meant = format.as_read(&LayerSpec::of(PATH, &weight), weight.clone()).unwrap();
            prop_assert_eq!(&found.codes, &meant.codes, "{}", scheme);
            prop_assert_eq!(values(&found), values(&weight), "{}", scheme);
            // And once more: what is read is written as the same bytes.
            let again = written(&format, &found);
            prop_assert_eq!(&again.0, &memory.0, "{}", scheme);
        }
    }
}

#[test]
fn each_layer_gets_the_type_that_holds_it() {
    let format = Gguf::default();
    let spec = |scheme: &str, cols: usize| LayerSpec {
        path: PATH.to_owned(),
        scheme: scheme.parse().unwrap(),
        rows: 8,
        cols,
        input: Default::default(),
    };
    for (scheme, cols, dtype, reason) in [
        ("w4g32s", 96, "Q4_0", ""),
        ("w4g32s-f32", 96, "Q4_0", "f32 are rounded to f16"),
        ("w4g128a", 256, "Q4_1", "minima"),
        ("w8cs", 64, "Q8_0", ""),
        ("w8g64a", 64, "F16", "8 bits have no type with zero points"),
        ("w4g32s", 172, "F16", "172 input features are no multiple of 32"),
        ("w4g16s", 64, "F16", "groups are no multiples of 32"),
        ("w2g16a", 256, "Q2_K", "a thirtieth"),
        ("w2g32s", 128, "Q4_0", ""),
        ("w2g32a", 128, "Q4_1", "minima"),
        ("w3g64s", 64, "Q4_0", ""),
        ("w1.58ts", 512, "TQ2_0", ""),
        ("w1.58g128s", 512, "Q4_0", ""),
        ("w1.58ts-f32", 512, "TQ2_0", "f16"),
    ] {
        let layer = spec(scheme, cols);
        assert_eq!(format.tensors(&layer, Dtype::F32).unwrap()[0].dtype.name(), dtype, "{scheme} {cols}");
        match format.fit(&layer) {
            Fit::Exact => assert_eq!(reason, "", "{scheme} {cols}"),
            Fit::Rounded(why) => assert!(!reason.is_empty() && why.contains(reason), "{scheme} {cols}: {why}"),
            other => panic!("{scheme} {cols}: {other:?}"),
        }
    }
    let notes = format.notes(&[spec("w3g32s", 64), spec("w4g32s", 64), spec("w4g32s", 172)]).join("\n");
    assert!(notes.contains("1 as F16, 2 as Q4_0") && notes.contains("1 layer(s) of 3 bits take 4.5"), "{notes}");
    let odd = LayerSpec { path: "model.layers.0.mlp.router".into(), ..spec("w4g32s", 64) };
    assert!(matches!(exporter(8).fit(&odd), Fit::Refused(why) if why.contains("llama has no such layer")));
}

#[test]
fn models_that_readers_would_compute_otherwise_are_refused() {
    let refused = |changes: Value| {
        let mut config = json!({
            "model_type": "llama", "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "ffn_dim": 64,
            "num_attention_heads": 2, "vocab_size": 32, "max_position_embeddings": 64, "n_embd": 64, "n_head": 2,
            "n_layer": 1, "n_positions": 64,
        });
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Gguf::of(&config).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0});
    for (changes, part) in [
        (json!({}), ""),
        (json!({"model_type": "gpt2"}), ""),
        (json!({"model_type": "opt"}), "no architecture"),
        (json!({"model_type": "gpt2", "activation_function": "relu"}), "the activation relu"),
        (json!({"model_type": "mistral", "sliding_window": 16}), "a sliding window"),
        (json!({"model_type": "mistral", "sliding_window": 64}), ""),
        (json!({"rope_scaling": llama3}), "Llama 3.1"),
        (json!({"hidden_act": "gelu"}), "the activation gelu"),
        (json!({"model_type": "bitnet", "hidden_act": "silu"}), "an output head"),
    ] {
        let found = refused(changes.clone());
        assert_eq!(found.is_empty(), part.is_empty(), "{changes}: {found}");
        assert!(found.contains(part), "{changes}: {found}");
    }
}

#[test]
fn heads_beyond_all_rows_are_refused() {
    for heads in [0, 3, 8, usize::MAX / 2 + 2, usize::MAX] {
        assert!(bitsmith::io::gguf_rows::to_family(&[0; 8], 8, heads).is_err(), "{heads} heads");
    }
}
