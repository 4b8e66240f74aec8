//! GPTQ, auto-round, AWQ, MLX and bitsandbytes: what is written reads back, the words are those of other programs, and what is
//! malformed or contradictory is refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use bitsmith::export::{Exporter, Fit, LayerSpec, Stored, TensorSource, exporter, importer};
use bitsmith::op::{Activations, LayerInput};
use bitsmith::scheme::uniform;
use bitsmith::{Device, Dtype, Error, PackedTensor, QuantizedTensor, Recorder, Scheme};
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

    fn find(&self, name: &str) -> bitsmith::Result<Option<Stored<'_>>> {
        let tensor = self.0.get(name);
        Ok(tensor.map(|(dtype, shape, bytes)| Stored { dtype, shape: shape.clone(), bytes }))
    }
}

impl Memory {
    fn of(format: &dyn Exporter, weight: &PackedTensor, dtype: Dtype) -> Self {
        let layer = LayerSpec::of(PATH, weight);
        let specs = format.tensors(&layer, dtype).unwrap();
        let mut memory = Self::default();
        for (spec, (name, bytes)) in specs.into_iter().zip(format.encode(&layer, weight, dtype).unwrap()) {
            assert_eq!((&spec.name, spec.bytes().unwrap()), (&name, bytes.len() as u64));
            memory.0.insert(name, (spec.dtype.name().to_owned(), spec.shape, bytes));
        }
        memory
    }

    fn words(&self, part: &str) -> Vec<u32> {
        self.0[&format!("{PATH}.{part}")].2.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    fn with(mut self, part: &str, dtype: &str, shape: &[usize], bytes: Vec<u8>) -> Self {
        self.0.insert(format!("{PATH}.{part}"), (dtype.to_owned(), shape.to_vec(), bytes));
        self
    }

    fn without(mut self, part: &str) -> Self {
        assert!(self.0.remove(&format!("{PATH}.{part}")).is_some());
        self
    }
}

/// A layer of pseudo-random codes, scales and zero points.
fn layer(scheme: &str, rows: usize, cols: usize, seed: u32) -> PackedTensor {
    let scheme: Scheme = scheme.parse().unwrap();
    let groups = scheme.groups(rows, cols).count();
    let code = |i: usize| {
        let code = (uniform(seed, i as u32) * 256.0) as u8 & scheme.bits().max_code();
        code.max(scheme.bits().min_code())
    };
    let scale = |i: usize| scheme.scale_type().round(uniform(seed ^ 1, i as u32) + 0.01);
    let zeros = (!scheme.is_symmetric()).then(|| (0..groups).map(|i| code(i + rows * cols)).collect());
    let codes = (0..rows * cols).map(code).collect();
    let tensor = QuantizedTensor::new(scheme, rows, cols, codes, (0..groups).map(scale).collect(), zeros);
    PackedTensor::pack(&tensor.unwrap())
}

fn config(format: &dyn Exporter, weight: &PackedTensor) -> Value {
    format.config(&[LayerSpec::of(PATH, weight)], &["lm_head".to_owned()]).unwrap()
}

fn read(config: &Value, memory: &Memory) -> bitsmith::Result<PackedTensor> {
    let reader = importer(config, Path::new("model"))?;
    let layers = reader.layers(memory)?;
    assert_eq!(layers.len(), 1);
    assert_eq!(layers[0].path, PATH);
    let weight = reader.decode(PATH, memory)?;
    assert_eq!((layers[0].scheme, layers[0].rows, layers[0].cols), (weight.scheme, weight.rows, weight.cols));
    Ok(weight)
}

/// What a weight stands for.
fn values(weight: &PackedTensor) -> Vec<f32> {
    weight.unpack().unwrap().dequantize()
}

/// Formats with schemes that they hold exactly, and multiples that rows and columns must be of.
const HELD: [(&str, &[&str], usize, usize); 5] = [
    (
        "gptq",
        &["w2g32s", "w3g32s", "w4g64s", "w8cs", "w4ts", "w4g32a", "w2g64a", "w3g32a", "w8ca", "w1.58g32s"],
        32,
        32,
    ),
    ("auto-round", &["w2g32s", "w3g32s", "w4g32s", "w8cs"], 32, 32),
    ("awq", &["w4g32s", "w4g32a", "w4g64a"], 8, 64),
    ("mlx", &["w2g32s", "w3g32s", "w4g64s", "w8cs", "w8ts", "w4g32a", "w8g64a", "w1.58ts"], 1, 64),
    ("bitsandbytes", &["w8cs-f32", "w8ts-f32", "w8cs"], 1, 1),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_written_reads_back(rows in 1..4_usize, cols in 1..4_usize, seed in any::<u32>()) {
        for (name, schemes, row_step, col_step) in HELD {
            let format = exporter(name).unwrap();
            for scheme in schemes {
                let weight = layer(scheme, rows * row_step, cols * col_step, seed);
                let memory = Memory::of(&*format, &weight, Dtype::F32);
                let found = read(&config(&*format, &weight), &memory).unwrap();
                prop_assert_eq!(&found.codes, &weight.codes, "{} {}", name, scheme);
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= format.scale_error() * b.abs();
                prop_assert!(values(&found).iter().zip(&values(&weight)).all(near), "{} {}", name, scheme);
            }
        }
    }
}

#[test]
fn gptq_words_are_those_of_other_programs() {
    let format = exporter("gptq").unwrap();
    for (scheme, zeros) in [("w4g32s", 0x7777_7777), ("w8g32s", 0x7f7f_7f7f), ("w2g32s", 0x5555_5555)] {
        let weight = layer(scheme, 32, 32, 3);
        let memory = Memory::of(&*format, &weight, Dtype::F16);
        assert!(memory.words("qzeros").iter().all(|word| *word == zeros), "{scheme}");
        assert_eq!(config(&*format, &weight)["checkpoint_format"], "gptq");
        assert_eq!(memory.words("g_idx"), [0; 32]);
    }
    let codes =
        [0, 9, 3, 12, 5, 14, 8, 1, 10, 3, 12, 6, 15, 8, 2, 11, 4, 13, 7, 15, 9, 3, 11, 5, 14, 7, 1, 10, 3, 12, 6, 14];
    // The vector as every row, with a zero point of its own.
    let zeros: Vec<u8> = (0..32).map(|row| row % 16).collect();
    let tensor =
        QuantizedTensor::new("w4g32a".parse().unwrap(), 32, 32, codes.repeat(32), vec![0.5; 32], Some(zeros)).unwrap();
    let weight = PackedTensor::pack(&tensor);
    let memory = Memory::of(&*format, &weight, Dtype::F16);
    let words = [0x18e5_c390_u32, 0xb28f_6c3a, 0x5b39_f7d4, 0xe6c3_a17e];
    assert_eq!(memory.words("qweight"), words.iter().flat_map(|word| [*word; 32]).collect::<Vec<_>>());
    assert_eq!(memory.words("qzeros"), [0x7654_3210, 0xfedc_ba98, 0x7654_3210, 0xfedc_ba98]);
    assert_eq!(config(&*format, &weight)["checkpoint_format"], "gptq_v2");
}

/// Columns in an order in which no group is of neighbours.
fn scattered(cols: u32) -> LayerInput {
    LayerInput::Ordered { columns: (0..cols).map(|i| i * 37 % cols).collect(), then: Box::default() }
}

#[test]
fn act_order_is_read_computed_with_and_written_by_gptq_alone() {
    let (format, weight, input) = (exporter("gptq").unwrap(), layer("w4g32a", 32, 96, 11), scattered(96));
    let spec = LayerSpec::of(PATH, &weight).with_input(input.clone());
    let config = format.config(std::slice::from_ref(&spec), &[]).unwrap();
    assert_eq!(config["desc_act"], true);
    let (mut memory, tensors) = (Memory::default(), format.tensors(&spec, Dtype::F16).unwrap());
    for (tensor, (name, bytes)) in tensors.into_iter().zip(format.encode(&spec, &weight, Dtype::F16).unwrap()) {
        memory.0.insert(name, (tensor.dtype.name().to_owned(), tensor.shape, bytes));
    }
    // Place 1 of the codes, in group 0, is taken by column 37; place 33, in group 1, by column 33 * 37 % 96.
    let index = memory.words("g_idx");
    assert_eq!((index[37], index[33 * 37 % 96]), (0, 1));
    let reader = importer(&config, Path::new("model")).unwrap();
    let found = &reader.layers(&memory).unwrap()[0];
    let read = reader.decode(PATH, &memory).unwrap();
    // Within a group columns come in the order of the file, so that the places differ, and the values do not.
    let by_column = |weight: &PackedTensor, input: &LayerInput| {
        let (values, columns) = (values(weight), input.columns().unwrap());
        let mut placed = vec![0.0; values.len()];
        values.iter().enumerate().for_each(|(i, value)| placed[i / 96 * 96 + columns[i % 96] as usize] = *value);
        placed
    };
    let expected = by_column(&weight, &input);
    assert_eq!(by_column(&read, &found.input), expected);

    let device = Device::cpu();
    let x: Vec<f32> = (0..2 * 96).map(|i| uniform(5, i) - 0.5).collect();
    let mut rec = Recorder::new(&device);
    let x_there = Activations::upload(&device, 2, 96, &x).unwrap();
    let y = found.input.apply(&mut rec, &x_there, &found.input.upload(&device, &read).unwrap()).unwrap();
    rec.submit().unwrap();
    for (i, y) in pollster::block_on(y.read(&device)).unwrap().into_iter().enumerate() {
        let (x, w) = (&x[i / 32 * 96..][..96], &expected[i % 32 * 96..][..96]);
        let sum: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        // 96 terms below 8 each, with f32 sums of them.
        assert!((f64::from(y) - sum).abs() < 96.0 * 8.0 * f64::from(f32::EPSILON), "{i}: {y} and {sum}");
    }
    for name in bitsmith::export::FORMATS.into_iter().filter(|name| *name != "gptq") {
        let fit = exporter(name).unwrap().fit(&spec);
        assert!(matches!(&fit, Fit::Refused(_)), "{name}: {fit:?}");
    }
    assert!(matches!(exporter("awq").unwrap().fit(&spec), Fit::Refused(why) if why.contains("--format gptq")));
}

#[test]
fn mlx_layers_off_the_steps_and_embeddings_are_read_in_floating_point() {
    let (format, weight) = (exporter("mlx").unwrap(), layer("w4g32a", 2, 64, 3));
    let memory = Memory::of(&*format, &weight, Dtype::F32);
    let biases = [0.3_f32, -1.0, 2.5, 0.125];
    let off = memory.clone().with("biases", "F32", &[2, 2], Dtype::F32.encode(&biases));
    let reader = importer(&config(&*format, &weight), Path::new("model")).unwrap();
    assert!(reader.layers(&off).unwrap().is_empty() && reader.decode(PATH, &off).is_err());
    let decoded = reader.decoded(&off).unwrap();
    assert_eq!((decoded.len(), decoded[0].layer.path.as_str()), (1, PATH));
    assert!(decoded[0].reason.contains("whole number of steps"), "{}", decoded[0].reason);
    let unpacked = weight.unpack().unwrap();
    let expected = |i: usize| unpacked.scales()[i / 32] * f32::from(unpacked.codes()[i]) + biases[i / 32];
    assert_eq!(reader.values(PATH, &off).unwrap().to_f32(), (0..128).map(expected).collect::<Vec<_>>());

    let table = |name: &String| name.replace(PATH, "model.embed_tokens");
    let table = Memory(memory.0.iter().map(|(name, tensor)| (table(name), tensor.clone())).collect());
    assert!(reader.layers(&table).unwrap().is_empty());
    assert_eq!(reader.decoded(&table).unwrap()[0].reason, "embeddings are looked up in floating point");
    assert!(reader.decoded(&memory).unwrap().is_empty());
}

#[test]
fn mlx_biases_and_bitsandbytes_scales() {
    let tensor =
        QuantizedTensor::new("w4g32a".parse().unwrap(), 1, 32, vec![0; 32], vec![0.25], Some(vec![8])).unwrap();
    let memory = Memory::of(&*exporter("mlx").unwrap(), &PackedTensor::pack(&tensor), Dtype::F32);
    assert_eq!(memory.words("biases"), [(-2.0_f32).to_bits()]);
    let codes: Vec<u8> = vec![1, 148, 41];
    let scale = 2.0_f32 / 127.0;
    let tensor = QuantizedTensor::new("w8cs-f32".parse().unwrap(), 1, 3, codes, vec![scale], None).unwrap();
    let memory = Memory::of(&*exporter("bitsandbytes").unwrap(), &PackedTensor::pack(&tensor), Dtype::F32);
    assert_eq!(memory.words("SCB"), [2.0_f32.to_bits()]);
    let stored: Vec<i8> = memory.0[&format!("{PATH}.weight")].2.iter().map(|byte| byte.cast_signed()).collect();
    assert_eq!(stored, [-127, 20, -87]);
}

#[test]
fn mixed_bits_are_described_by_layer() {
    let (a, b) = (layer("w4g32s", 32, 64, 1), layer("w8g64s", 32, 64, 2));
    let specs = |names: [&str; 3]| {
        let [x, y, z] = names.map(|name| format!("model.layers.0.{name}"));
        [LayerSpec::of(&x, &a), LayerSpec::of(&y, &a), LayerSpec::of(&z, &b)]
    };
    for name in ["gptq", "auto-round", "mlx"] {
        let format = exporter(name).unwrap();
        let specs = specs(["q_proj", "k_proj", "v_proj"]);
        let config = format.config(&specs, &["model.layers.0.o_proj".to_owned(), "lm_head".to_owned()]).unwrap();
        let mut memory = Memory::default();
        for (spec, weight) in specs.iter().zip([&a, &a, &b]) {
            let tensors = format.tensors(spec, Dtype::F16).unwrap();
            for (tensor, (name, bytes)) in tensors.into_iter().zip(format.encode(spec, weight, Dtype::F16).unwrap()) {
                memory.0.insert(name, (tensor.dtype.name().to_owned(), tensor.shape, bytes));
            }
        }
        let reader = importer(&config, Path::new("model")).unwrap();
        assert_eq!(reader.layers(&memory).unwrap().len(), 3, "{name}");
        for (spec, weight) in specs.iter().zip([&a, &a, &b]) {
            assert_eq!(values(&reader.decode(&spec.path, &memory).unwrap()), values(weight), "{name} {}", spec.path);
        }
    }
    let awq = exporter("awq").unwrap();
    let other = LayerSpec::of("model.layers.0.o_proj", &layer("w4g64s", 32, 64, 2));
    let mixed = awq.config(&[LayerSpec::of(PATH, &a), other], &[]).unwrap_err();
    assert!(mixed.to_string().contains("differ in group size"), "{mixed}");
    let with_zeros = LayerSpec::of("model.layers.0.o_proj", &layer("w4g32a", 32, 64, 2));
    let mixed = exporter("gptq").unwrap().config(&[LayerSpec::of(PATH, &a), with_zeros], &[]).unwrap_err();
    assert!(mixed.to_string().contains("all of one kind"), "{mixed}");
}

#[test]
fn what_a_format_cannot_hold_is_told_with_its_remedy() {
    for (name, scheme, rows, cols, remedy) in [
        ("gptq", "w4g32s", 32, 172, "--skip up_proj"),
        ("gptq", "w4g32s", 20, 64, "--skip up_proj"),
        ("auto-round", "w4g32a", 32, 64, "use gptq"),
        ("awq", "w8g32s", 32, 64, "--bits 4"),
        ("awq", "w4cs", 32, 64, "--group-size"),
        ("awq", "w4g128s", 32, 64, "--group-size"),
        ("mlx", "w4g16s", 32, 64, "--group-size"),
        ("mlx", "w4g32s", 32, 172, "--group-size"),
        ("bitsandbytes", "w4g32s", 32, 64, "--method llm-int8"),
        ("bitsandbytes", "w8ca", 32, 64, "--method llm-int8"),
    ] {
        let format = exporter(name).unwrap();
        let spec = LayerSpec { rows, cols, ..LayerSpec::of(PATH, &layer(scheme, 32, 64, 1)) };
        assert!(matches!(format.fit(&spec), Fit::Refused(why) if why.contains(remedy)), "{name} {scheme}");
        assert!(matches!(format.tensors(&spec, Dtype::F16), Err(Error::Unsupported { .. })), "{name} {scheme}");
    }
}

/// As tests/clients found: others put their own layer in the place of a Conv1D, or look for a weight that is not there.
#[test]
fn a_conv1d_is_loaded_by_readers_of_three_formats() {
    let fit = |name: &str, scheme: &str| {
        let layer = LayerSpec::of(PATH, &layer(scheme, 64, 64, 1));
        let format = exporter(name).unwrap();
        assert_eq!(format.fit(&layer), Fit::Exact, "{name}");
        format.fit_conv1d(&layer)
    };
    for (name, scheme) in [("auto-round", "w4g32s"), ("bitsandbytes", "w8cs-f32"), ("onnx", "w4g32s")] {
        assert_eq!(fit(name, scheme), Fit::Exact, "{name}");
    }
    for name in ["compressed-tensors", "gptq", "awq", "mlx"] {
        let found = fit(name, "w4g32s");
        assert!(matches!(&found, Fit::OwnReader(why) if why.contains("as auto-round")), "{name}: {found:?}");
    }
}

#[test]
fn scales_are_rounded_to_f16_where_the_format_has_no_other() {
    let tensor =
        QuantizedTensor::new("w4g32s-f32".parse().unwrap(), 32, 32, vec![9; 1024], vec![0.1; 32], None).unwrap();
    let weight = PackedTensor::pack(&tensor);
    for name in ["gptq", "awq"] {
        let format = exporter(name).unwrap();
        assert!(matches!(format.fit(&LayerSpec::of(PATH, &weight)), Fit::Rounded(why) if why.contains("f16")));
        let found = read(&config(&*format, &weight), &Memory::of(&*format, &weight, Dtype::F32)).unwrap();
        assert_eq!(found.scales, [Dtype::F16.round(0.1); 32]);
        assert!((found.scales[0] - 0.1).abs() <= format.scale_error() * 0.1);
    }
}

/// The error of reading the one layer.
fn refusal(config: &Value, memory: &Memory) -> String {
    read(config, memory).unwrap_err().to_string()
}

#[test]
fn contradictory_and_damaged_layers_are_named() {
    let four = layer("w4g32s", 32, 64, 5);
    for (name, changes, damage, expected) in damaged() {
        let format = exporter(name).unwrap();
        let weight = if name == "bitsandbytes" { layer("w8cs-f32", 32, 64, 5) } else { four.clone() };
        let mut config = config(&*format, &weight);
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        let found = refusal(&config, &damage(Memory::of(&*format, &weight, Dtype::F16)));
        assert!(found.contains(expected), "{name} {changes}: {found}");
    }
}

type Damage = fn(Memory) -> Memory;

/// Format, changes to its configuration, damage to its tensors, and a part of the error.
fn damaged() -> Vec<(&'static str, Value, Damage, &'static str)> {
    let none: Damage = |memory| memory;
    vec![
        ("gptq", json!({"bits": 8}), none, "up_proj.scales has shape [2, 32]"),
        ("gptq", json!({"bits": 5}), none, "quantization_config.bits `5`"),
        ("gptq", json!({"group_size": 64}), none, "up_proj.scales has shape [2, 32]"),
        ("gptq", json!({"group_size": 0}), none, "group_size"),
        ("gptq", json!({"checkpoint_format": "marlin"}), none, "checkpoint_format `marlin`"),
        ("gptq", json!({"checkpoint_format": "gptq_v2"}), none, "correct `sym`, or `checkpoint_format`"),
        ("gptq", json!({"pack_dtype": "int8"}), none, "pack_dtype"),
        ("gptq", json!({"dynamic": {"+:(": {"bits": 8}}}), none, "dynamic.+:("),
        ("gptq", json!({"dynamic": {"-:.*up_proj": {}}}), none, "`dynamic` keeps the layer"),
        ("gptq", json!({}), |memory| memory.without("scales"), "up_proj.scales is missing"),
        ("gptq", json!({}), |memory| memory.with("qweight", "F32", &[8, 32], vec![0; 1024]), "must be I32"),
        ("gptq", json!({}), |memory| memory.with("qweight", "I32", &[8, 32], vec![0; 1000]), "1000 bytes"),
        ("gptq", json!({}), |memory| memory.with("g_idx", "I32", &[64], vec![1; 256]), "g_idx has a column in group"),
        ("gptq", json!({}), |memory| memory.with("scales", "F16", &[2, 32], vec![0xff; 128]), "scales 0 is NaN"),
        ("auto-round", json!({"packing_format": "auto_round:auto_awq"}), none, "packing_format"),
        ("awq", json!({"bits": 8}), none, "bits `8`"),
        ("awq", json!({"version": "gemv"}), none, "version `gemv`"),
        ("awq", json!({"group_size": 64}), none, "up_proj.qzeros has shape"),
        ("awq", json!({}), |memory| memory.without("qzeros"), "up_proj.qzeros is missing"),
        ("mlx", json!({"mode": "mxfp4"}), none, "mode `mxfp4`"),
        ("mlx", json!({"bits": 8}), none, "do not fill them"),
        ("mlx", json!({PATH: false}), none, "keeps the layer"),
        ("mlx", json!({}), |memory| memory.without("biases"), "up_proj.biases is missing"),
        ("mlx", json!({}), |memory| memory.with("biases", "F16", &[32, 2], vec![0xff; 128]), "biases 0 is NaN"),
        ("bitsandbytes", json!({"load_in_8bit": false}), none, "load_in_8bit"),
        ("bitsandbytes", json!({"llm_int8_threshold": -1.0}), none, "llm_int8_threshold"),
        ("bitsandbytes", json!({}), |memory| memory.with("weight_format", "U8", &[], vec![2]), "weight_format"),
        ("bitsandbytes", json!({}), |memory| memory.with("SCB", "F32", &[31], vec![0; 124]), "SCB has shape [31]"),
    ]
}
