//! Hugging Face's bitnet format: what is written reads back, every form of a layer is read, and what is malformed is
//! refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use bitsmith::export::bitnet::{Bitnet, Unpacked};
use bitsmith::export::{Exporter, Fit, Importer, LayerSpec, Stored, TensorSource, importer};
use bitsmith::op::LayerInput;
use bitsmith::pack::blocked_rows;
use bitsmith::scheme::uniform;
use bitsmith::{Bits, Dtype, Error, PackedTensor, Packing, QuantizedTensor, Result, Scheme};
use proptest::prelude::*;
use serde_json::{Value, json};

const PATH: &str = "model.layers.0.mlp.up_proj";

/// Tensors in memory, as a checkpoint would hold them.
#[derive(Clone, Default)]
struct Memory(BTreeMap<String, (String, Vec<usize>, Vec<u8>)>);

impl TensorSource for Memory {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.keys().map(String::as_str))
    }

    fn find(&self, name: &str) -> Result<Option<Stored<'_>>> {
        let tensor = self.0.get(name);
        Ok(tensor.map(|(dtype, shape, bytes)| Stored { dtype, shape: shape.clone(), bytes }))
    }
}

impl Memory {
    fn of(weight: &PackedTensor) -> Self {
        let layer = LayerSpec::of(PATH, weight);
        let specs = Bitnet.tensors(&layer, Dtype::Bf16).unwrap();
        let mut memory = Self::default();
        for (spec, (name, bytes)) in specs.into_iter().zip(Bitnet.encode(&layer, weight, Dtype::Bf16).unwrap()) {
            assert_eq!((&spec.name, spec.bytes().unwrap()), (&name, bytes.len() as u64));
            memory.0.insert(name, (spec.dtype.name().to_owned(), spec.shape, bytes));
        }
        memory
    }

    fn with(mut self, part: &str, dtype: &str, shape: &[usize], bytes: Vec<u8>) -> Self {
        self.0.insert(format!("{PATH}.{part}"), (dtype.to_owned(), shape.to_vec(), bytes));
        self
    }

    fn floats(self, part: &str, shape: &[usize], values: &[f32]) -> Self {
        self.with(part, "F32", shape, Dtype::F32.encode(values))
    }
}

fn ternary(rows: usize, cols: usize, scale: f32, seed: u32) -> PackedTensor {
    let codes = (0..rows * cols).map(|i| 1 + (uniform(seed, i as u32) * 3.0) as u8).collect();
    let scheme: Scheme = "w1.58ts-f32".parse().unwrap();
    PackedTensor::pack(&QuantizedTensor::new(scheme, rows, cols, codes, vec![scale], None).unwrap())
}

fn config(changes: Value) -> Value {
    let mut config = json!({"quant_method": "bitnet", "modules_to_not_convert": ["lm_head"]});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn reader(changes: Value) -> Box<dyn Importer> {
    importer(&config(changes), Path::new("model")).unwrap()
}

/// The error of reading the one layer in full.
fn refusal(changes: Value, memory: &Memory) -> String {
    let read = importer(&config(changes), Path::new("model")).and_then(|reader| {
        reader.layers(memory)?;
        reader.decode(PATH, memory)
    });
    read.unwrap_err().to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn encode_then_decode_gives_the_codes(quarter in 1..12_usize, cols in 1..70_usize, seed: u32, scale in 1e-6..1e6_f32) {
        let weight = ternary(4 * quarter, cols, scale, seed);
        let memory = Memory::of(&weight);
        let layer = LayerSpec::of(PATH, &weight);
        let layer = layer.clone().with_input(Bitnet.input(&layer));
        prop_assert_eq!(&layer.input, &LayerInput::Tokens);
        let config = Bitnet.config(std::slice::from_ref(&layer), &["lm_head".into()]).unwrap();
        let reader = importer(&config, Path::new("model")).unwrap();
        prop_assert_eq!(reader.layers(&memory).unwrap(), [layer]);
        let read = reader.decode(PATH, &memory).unwrap();
        prop_assert_eq!(&read.codes, &weight.codes);
        prop_assert!((read.scales[0] - scale).abs() <= scale * Bitnet.scale_error());
        // A scale that was read is written and read as itself.
        let again = reader.decode(PATH, &Memory::of(&read)).unwrap();
        prop_assert_eq!(again, read);
    }

    #[test]
    fn blocked_rows_are_a_bijection(quarter in 1..9_usize, cols in 1..40_usize, seed: u32) {
        let rows = 4 * quarter;
        let weight = ternary(rows, cols, 1.0, seed);
        let bytes = blocked_rows::pack(&weight.codes, rows, cols).unwrap();
        prop_assert_eq!(bytes.len() * 4, rows * cols);
        let codes = weight.unpack().unwrap();
        for (i, code) in codes.codes().iter().enumerate() {
            let (row, col) = (i / cols, i % cols);
            let byte = bytes[row % quarter * cols + col];
            prop_assert_eq!(byte >> (2 * (row / quarter)) & 3, code - 1);
        }
        prop_assert_eq!(blocked_rows::unpack(&bytes, rows, cols).unwrap(), weight.codes);
    }
}

#[test]
fn blocked_rows_refuse_what_they_cannot_hold() {
    let words = Packing::Rows.pack(&[2; 8], 8, 1, Bits::TERNARY).unwrap();
    for (words, rows, cols) in [(&words[..], 6, 1), (&words[..7], 8, 1), (&words[..], 0, 1), (&[0; 8][..], 8, 1)] {
        assert!(matches!(blocked_rows::pack(words, rows, cols), Err(Error::Shape { .. })), "{rows} x {cols}");
    }
    for (bytes, rows, cols) in [(&[0x55u8, 0x55][..], 6, 1), (&[0x55], 8, 1), (&[0x55, 0xd5], 8, 1)] {
        assert!(matches!(blocked_rows::unpack(bytes, rows, cols), Err(Error::Shape { .. })), "{rows} x {cols}");
    }
    let error = blocked_rows::unpack(&[0x55, 0xd5], 4, 2).unwrap_err().to_string();
    assert!(error.contains("code 3 in byte [0, 1]"), "{error}");
}

#[test]
fn the_class_tells_what_the_scale_means() {
    let memory = Memory::of(&ternary(8, 5, 0.25, 1));
    assert_eq!(reader(json!({})).decode(PATH, &memory).unwrap().scales, [0.25]);
    assert_eq!(reader(json!({"linear_class": "autobitlinear"})).decode(PATH, &memory).unwrap().scales, [4.0]);
    for (dtype, shape) in [("F16", vec![]), ("BF16", vec![1])] {
        let stored = dtype.to_lowercase().parse::<Dtype>().unwrap().encode(&[8.0]);
        let memory = memory.clone().with("weight_scale", dtype, &shape, stored);
        assert_eq!(reader(json!({})).decode(PATH, &memory).unwrap().scales, [0.125]);
    }
}

#[test]
fn levels_and_masters_in_floating_point() {
    let auto = json!({"linear_class": "autobitlinear", "quantization_mode": "offline"});
    let levels = Memory::default().floats("weight", &[2, 3], &[1.0, 0.0, -1.0, -0.0, 1.0, 1.0]);
    let levels = levels.floats("weight_scale", &[1], &[0.5]);
    let read = reader(auto.clone()).decode(PATH, &levels).unwrap();
    assert_eq!(read.unpack().unwrap().dequantize(), [0.5, 0.0, -0.5, 0.0, 0.5, 0.5]);
    let others = levels.floats("weight", &[2, 3], &[1.0, 0.0, -1.0, 0.5, 1.0, 1.0]);
    assert!(refusal(auto, &others).contains("other numbers than -1, 0 and 1"));

    let online = json!({"linear_class": "autobitlinear", "quantization_mode": "online"});
    let master = Memory::default().floats("weight", &[2, 3], &[0.9, -0.5, 0.1, 1.5, -2.0, 1.0]);
    let mut ends = master.clone();
    for end in ["lm_head", "model.embed_tokens"] {
        ends.0.insert(format!("{end}.weight"), master.0.values().next().unwrap().clone());
    }
    let reader = reader(online);
    assert_eq!(reader.layers(&ends).unwrap().len(), 1, "ends are no layers");
    // The mean magnitude is 1; 0.5 is halfway and goes to 0.
    assert_eq!(reader.decode(PATH, &ends).unwrap().unpack().unwrap().dequantize(), [1.0, 0.0, 0.0, 1.0, -1.0, 1.0]);
}

#[test]
fn unpacked_layers_are_known_by_their_values() {
    let read = |values: &[f32]| {
        let memory = Memory::default().floats("weight", &[2, 2], values);
        let reader = Unpacked::new(&json!({"model_type": "bitnet"}), Path::new("model"));
        let layers = reader.layers(&memory).unwrap();
        layers.first().map(|layer| reader.decode(&layer.path, &memory).unwrap().unpack().unwrap().dequantize())
    };
    assert_eq!(read(&[0.3, 0.0, -0.3, 0.3]), Some(vec![0.3, 0.0, -0.3, 0.3]));
    assert_eq!(read(&[-0.3, -0.3, 0.3, 0.3]), Some(vec![-0.3, -0.3, 0.3, 0.3]));
    for others in [[0.3, 0.0, -0.3, 0.4], [0.0; 4], [f32::NAN, 0.0, 0.0, 0.0], [f32::INFINITY, 0.0, 0.0, 0.0]] {
        assert_eq!(read(&others), None, "{others:?}");
    }
    // A Conv1D is stored the other way round.
    let memory = Memory::default().floats("weight", &[2, 2], &[1.0; 4]);
    let mut gpt2 = Memory::default();
    gpt2.0.insert("h.0.mlp.c_fc.weight".into(), memory.0.values().next().unwrap().clone());
    let layers = Unpacked::new(&json!({"model_type": "gpt2"}), Path::new("model")).layers(&gpt2);
    assert_eq!(layers.unwrap(), []);
}

#[test]
fn what_does_not_fit_is_refused() {
    for (scheme, rows, word) in [
        ("w2ts", 8, "ternary"),
        ("w4g32s", 8, "ternary"),
        ("w1.58cs", 8, "one scale a tensor"),
        ("w1.58g32s", 8, "one scale a tensor"),
        ("w1.58ts", 6, "no multiple of 4"),
        ("w1.58ts", 0, "no elements"),
    ] {
        let (scheme, input) = (scheme.parse().unwrap(), LayerInput::Tokens);
        let layer = LayerSpec { path: PATH.into(), scheme, rows, cols: 64, input };
        let Fit::Refused(reason) = Bitnet.fit(&layer) else { panic!("{scheme} fits") };
        let error = Bitnet.tensors(&layer, Dtype::F32).unwrap_err().to_string();
        assert!(reason.contains(word) && error.contains(PATH), "{reason}; {error}");
    }
    for scale in [0.0, -1.0, 1e-40, 3e38] {
        let weight = ternary(4, 3, scale, 1);
        let error = Bitnet.encode(&LayerSpec::of(PATH, &weight), &weight, Dtype::F32).unwrap_err().to_string();
        assert!(error.contains(PATH), "{error}");
    }
    // "proj" would keep the layer too: readers look at the end of a path.
    for kept in [PATH, "proj", "model.layers.0"] {
        let layer = LayerSpec::of(PATH, &ternary(4, 3, 1.0, 1));
        assert!(matches!(Bitnet.config(&[layer], &[kept.into()]), Err(Error::Config { .. })), "{kept}");
    }
    assert!(matches!(Bitnet.config(&[], &[]), Err(Error::Config { .. })));
}

#[test]
fn malformed_layers_are_refused_by_name() {
    let good = Memory::of(&ternary(8, 5, 0.25, 1));
    let auto = || json!({"linear_class": "autobitlinear"});
    let online = || json!({"linear_class": "autobitlinear", "quantization_mode": "online"});
    let scale = |value: f32| good.clone().floats("weight_scale", &[1], &[value]);
    let mut without = good.clone();
    without.0.remove(&format!("{PATH}.weight_scale"));
    let dense = good.clone().floats("weight", &[2, 5], &[0.0; 10]);
    for (changes, memory, word) in [
        (json!({}), good.clone().with("weight", "U8", &[2, 5], vec![0xff; 10]), "weight: blocked rows"),
        (json!({}), good.clone().with("weight", "U8", &[2, 4], vec![0; 10]), "no weight of shape [2, 4]"),
        (json!({}), good.clone().with("weight", "U8", &[10], vec![0; 10]), "two axes"),
        (json!({}), good.clone().with("weight", "U8", &[0, 5], vec![]), "no weight of shape [0, 5]"),
        (json!({}), good.clone().with("weight", "U8", &[usize::MAX / 2, 5], vec![0; 10]), "no weight of shape"),
        (json!({}), good.clone().floats("weight_scale", &[2], &[1.0; 2]), "one F32, F16 or BF16"),
        (json!({}), good.clone().with("weight_scale", "I32", &[1], vec![0; 4]), "one F32, F16 or BF16"),
        (json!({}), scale(0.0), "weight_scale is 0"),
        (json!({}), scale(-2.0), "weight_scale is -2"),
        (json!({}), scale(f32::NAN), "weight_scale is NaN"),
        (json!({}), scale(f32::INFINITY), "weight_scale is inf"),
        (json!({}), scale(1e-45), "positive finite"),
        (auto(), scale(f32::INFINITY), "weight_scale is inf"),
        (json!({}), without, "weight_scale is missing"),
        (json!({}), dense, "should be packed, U8"),
        (json!({"modules_to_not_convert": ["up_proj"]}), good.clone(), "modules_to_not_convert names the layer"),
        (json!({"modules_to_not_convert": ["model.layers.(0|1)"]}), good.clone(), "modules_to_not_convert names"),
        (json!({"modules_to_not_convert": ["("]}), good.clone(), "modules_to_not_convert: pattern"),
        (online(), good.clone(), "quantization_mode is online"),
        (auto(), good.clone().floats("bias", &[8], &[1.0; 8]), "up_proj.bias with linear_class autobitlinear"),
        (json!({"linear_class": "other"}), good.clone(), "linear_class is `other`"),
        (json!({"quantization_mode": "both"}), good.clone(), "quantization_mode is `both`"),
        (json!({"use_rms_norm": true}), good.clone(), "use_rms_norm"),
        (json!({"modules_to_not_convert": 3}), good.clone(), "quantization_config"),
    ] {
        let error = refusal(changes.clone(), &memory);
        assert!(error.contains(word) && error.contains("model"), "{changes}: {error}, not {word}");
    }
    // With a scale that is that of the weight, a bias of zeros is one as well as none.
    reader(auto()).decode(PATH, &good.floats("bias", &[8], &[0.0; 8])).unwrap();
}
