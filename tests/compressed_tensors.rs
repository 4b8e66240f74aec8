//! compressed-tensors: what is written reads back, and what is malformed is refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use bitsmith::export::compressed_tensors::CompressedTensors;
use bitsmith::export::{Exporter, Fit, Importer, LayerSpec, Stored, TensorSource, exporter, importer};
use bitsmith::op::LayerInput;
use bitsmith::scheme::{Plan, uniform};
use bitsmith::{Dtype, Error, PackedTensor, QuantizedTensor, Result, Scheme};
use proptest::prelude::*;
use serde_json::{Value, json};

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
    fn add(&mut self, path: &str, weight: &PackedTensor) {
        self.add_with(&LayerSpec::of(path, weight), weight);
    }

    fn add_with(&mut self, layer: &LayerSpec, weight: &PackedTensor) {
        let specs = CompressedTensors.tensors(layer, Dtype::Bf16).unwrap();
        let parts = CompressedTensors.encode(layer, weight, Dtype::Bf16).unwrap();
        assert_eq!(specs.len(), parts.len());
        for (spec, (name, bytes)) in specs.into_iter().zip(parts) {
            assert_eq!(spec.name, name);
            self.0.insert(name, (spec.dtype.name().to_owned(), spec.shape, bytes));
        }
    }

    fn set(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: Vec<u8>) {
        self.0.insert(name.to_owned(), (dtype.to_owned(), shape.to_vec(), bytes));
    }
}

/// A layer of pseudo-random codes, scales and zero points.
fn layer(scheme: &str, rows: usize, cols: usize, seed: u32) -> PackedTensor {
    let scheme: Scheme = scheme.parse().unwrap();
    let groups = scheme.groups(rows, cols).count();
    let code = |i: usize| (uniform(seed, i as u32) * 256.0) as u8 & scheme.bits().max_code();
    let scale = |i: usize| scheme.scale_type().round(uniform(seed ^ 1, i as u32) - 0.5);
    let zeros = (!scheme.is_symmetric()).then(|| (0..groups).map(|i| code(i + rows * cols)).collect());
    let codes = (0..rows * cols).map(code).collect();
    let tensor = QuantizedTensor::new(scheme, rows, cols, codes, (0..groups).map(scale).collect(), zeros);
    PackedTensor::pack(&tensor.unwrap())
}

fn reader(config: &Value) -> Result<Box<dyn Importer>> {
    importer(config, Path::new("model"))
}

/// The layers of a plan; their shapes are no part of a configuration.
fn layers_of(plan: &Plan) -> Vec<LayerSpec> {
    let layer = |(path, scheme): (&str, Scheme)| {
        let path = path.to_owned();
        LayerSpec { path, scheme, rows: 1, cols: 1, input: LayerInput::Exact }
    };
    plan.iter().map(layer).collect()
}

fn schemes() -> Vec<String> {
    let mut all = Vec::new();
    for bits in [2, 3, 4, 8] {
        for span in ["t", "c", "g16", "g32", "g128"] {
            for zero in ["s", "a"] {
                all.extend(["", "-f32", "-bf16"].map(|scale| format!("w{bits}{span}{zero}{scale}")));
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn encode_then_decode_is_the_identity(
        scheme in prop::sample::select(schemes()), rows in 1..40_usize, cols in 1..200_usize, seed: u32,
    ) {
        let (path, weight) = ("model.layers.0.mlp.up_proj", layer(&scheme, rows, cols, seed));
        let mut memory = Memory::default();
        memory.add(path, &weight);
        let layer = LayerSpec::of(path, &weight);
        for (spec, (_, bytes)) in CompressedTensors.tensors(&layer, Dtype::Bf16).unwrap().iter()
            .zip(CompressedTensors.encode(&layer, &weight, Dtype::Bf16).unwrap()) {
            let element = match spec.dtype.name() { "I8" => 1, "F16" | "BF16" => 2, "I64" => 8, _ => 4 };
            prop_assert_eq!(spec.shape.iter().product::<usize>() * element, bytes.len());
        }
        let reader = reader(&CompressedTensors.config(std::slice::from_ref(&layer), &["lm_head".into()]).unwrap()).unwrap();
        prop_assert_eq!(reader.layers(&memory).unwrap(), [layer]);
        prop_assert_eq!(reader.decode(path, &memory).unwrap(), weight);
    }
}

/// The package may compute weights in the type of the scales, so an f32 model needs them in f32.
#[test]
fn an_f32_model_has_f32_scales() {
    for scheme in ["w4g32s", "w4g32s-bf16", "w4g32s-f32"] {
        let weight = layer(scheme, 5, 64, 7);
        let specs = CompressedTensors.tensors(&LayerSpec::of("a", &weight), Dtype::F32).unwrap();
        let parts = CompressedTensors.encode(&LayerSpec::of("a", &weight), &weight, Dtype::F32).unwrap();
        let at = specs.iter().position(|spec| spec.name == "a.weight_scale").unwrap();
        assert_eq!(specs[at].dtype.name(), "F32");
        assert_eq!(Dtype::F32.decode(&parts[at].1), weight.scales, "no value changes");
    }
}

#[test]
fn mixed_plans_read_back() {
    let all = schemes();
    let mut plan = Plan::default();
    let mut memory = Memory::default();
    for (i, scheme) in all.iter().enumerate() {
        let path = format!("model.layers.{i}.mlp.down_proj");
        let weight = layer(scheme, 5, 70, i as u32);
        memory.add(&path, &weight);
        plan.insert(path, weight.scheme);
    }
    memory.set("lm_head.weight", "F32", &[1, 1], vec![0; 4]);
    let config = CompressedTensors.config(&layers_of(&plan), &["lm_head".into()]).unwrap();
    assert_eq!(config["config_groups"].as_object().unwrap().len(), all.len() / 3, "one group for all scale types");
    let text = config.to_string();
    let reader = reader(&serde_json::from_str(&text).unwrap()).unwrap();
    let layers = reader.layers(&memory).unwrap();
    assert_eq!(layers.len(), plan.len());
    for found in layers {
        assert_eq!(Some(found.scheme), plan.get(&found.path), "{}", found.path);
    }
}

#[test]
fn one_scheme_targets_every_linear_layer() {
    let plan = Plan::from_iter([("a.q", "w4g128s".parse().unwrap()), ("a.k", "w4g128s-bf16".parse().unwrap())]);
    let expected = json!({
        "quant_method": "compressed-tensors", "version": "0.12.2", "format": "pack-quantized",
        "quantization_status": "compressed", "global_compression_ratio": null,
        "ignore": ["lm_head"], "kv_cache_scheme": null,
        "config_groups": { "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 128,
                        "dynamic": false, "actorder": null, "block_structure": null, "observer": "minmax",
                        "observer_kwargs": {}},
            "input_activations": null, "output_activations": null, "format": "pack-quantized" } },
        "sparsity_config": {}, "transform_config": {} });
    assert_eq!(CompressedTensors.config(&layers_of(&plan), &["lm_head".into()]).unwrap(), expected);
}

#[test]
fn unusable_plans_are_refused() {
    let plan = Plan::from_iter([("a.q", "w4g128s".parse().unwrap())]);
    assert!(CompressedTensors.config(&[], &[]).unwrap_err().to_string().contains("plan"));
    assert!(CompressedTensors.config(&layers_of(&plan), &["a.q".into()]).unwrap_err().to_string().contains("a.q"));
    assert!(matches!(exporter("zip"), Err(Error::Config { .. })));
}

#[test]
fn fit_says_who_reads_the_layer() {
    let fit = |scheme: &str, cols| {
        let scheme = scheme.parse().unwrap();
        CompressedTensors.fit(&LayerSpec { path: "a".into(), scheme, rows: 8, cols, input: LayerInput::Exact })
    };
    for exact in ["w4g32s", "w8cs", "w2ts-f32", "w2g64s-bf16"] {
        assert_eq!(fit(exact, 64), Fit::Exact, "{exact}");
    }
    for (own, cols, reason) in
        [("w3g32s", 64, "3-bit"), ("w4g32a", 64, "zero points"), ("w4g32s", 72, "group of 8 instead of 32")]
    {
        assert!(matches!(fit(own, cols), Fit::OwnReader(why) if why.contains(reason)), "{own}");
    }
    assert!(matches!(fit("w4g32s", 0), Fit::Refused(_)));
    let empty =
        LayerSpec { path: "a.b".into(), scheme: "w4g32s".parse().unwrap(), rows: 8, cols: 0, input: LayerInput::Exact };
    assert!(CompressedTensors.tensors(&empty, Dtype::F32).unwrap_err().to_string().contains("a.b"));
}

/// The configuration of one group with these fields set in the whole, the group and its weights.
fn config(top: &Value, group: &Value, weights: &Value) -> Value {
    let plan = Plan::from_iter([("a.q", "w4g32s".parse().unwrap())]);
    let mut config = CompressedTensors.config(&layers_of(&plan), &["lm_head".into()]).unwrap();
    for (at, fields) in [("/config_groups/group_0/weights", weights), ("/config_groups/group_0", group), ("", top)] {
        let object = config.pointer_mut(at).unwrap().as_object_mut().unwrap();
        object.extend(fields.as_object().unwrap().clone());
    }
    config
}

#[test]
fn malformed_configurations_are_refused_by_field() {
    let none = json!({});
    let top = |fields: Value| config(&fields, &none, &none);
    let group = |fields: Value| config(&none, &fields, &none);
    let weights = |fields: Value| config(&none, &none, &fields);
    for (config, field) in [
        (json!({}), "quant_method"),
        (top(json!({"quant_method": "hqq"})), "hqq"),
        (top(json!({"config_groups": []})), "quantization_config"),
        (top(json!({"config_groups": {"W4A16": ["Linear"]}})), "W4A16"),
        (top(json!({"ignore": ["re:("]})), "ignore"),
        (top(json!({"kv_cache_scheme": {"num_bits": 8}})), "kv_cache_scheme"),
        (top(json!({"transform_config": {"config_groups": {}}})), "transform_config"),
        (top(json!({"sparsity_config": {"format": "sparse-24-bitmask"}})), "sparsity_config"),
        (group(json!({"format": "int-quantized"})), "int-quantized"),
        (group(json!({"format": "float-quantized"})), "float-quantized"),
        (config(&json!({"format": "mixed-precision"}), &json!({"format": null}), &none), "format"),
        (group(json!({"targets": "Linear"})), "group_0"),
        (group(json!({"targets": ["re:[a"]})), "targets"),
        (group(json!({"weights": null})), "weights"),
        (group(json!({"input_activations": {"num_bits": 8}})), "input_activations"),
        (group(json!({"output_activations": {"num_bits": 8}})), "output_activations"),
        (group(json!({"colour": 1})), "colour"),
        (weights(json!({"flavour": 1})), "flavour"),
        (weights(json!({"num_bits": 5})), "num_bits"),
        (weights(json!({"num_bits": -4})), "group_0"),
        (weights(json!({"num_bits": 260})), "num_bits"),
        (weights(json!({"type": "float"})), "type"),
        (weights(json!({"strategy": "tensor_group"})), "strategy"),
        (weights(json!({"strategy": "block", "block_structure": [2, 2]})), "block_structure"),
        (weights(json!({"strategy": "channel"})), "group_size"),
        (weights(json!({"group_size": 0})), "group_size"),
        (weights(json!({"group_size": -1})), "group_size"),
        (weights(json!({"group_size": null})), "group_size"),
        (weights(json!({"group_size": 8})), "group_size"),
        (weights(json!({"group_size": 1_i64 << 40})), "group_size"),
        (weights(json!({"dynamic": true})), "dynamic"),
        (weights(json!({"actorder": "group"})), "actorder"),
        (weights(json!({"actorder": "sideways"})), "actorder"),
    ] {
        let error = reader(&config).err().unwrap_or_else(|| panic!("{field} was accepted"));
        let text = error.to_string();
        assert!(text.contains(field) && text.contains("config.json"), "{field}: {text}");
    }
}

#[test]
fn fields_without_a_meaning_for_weights_are_accepted() {
    let top = json!({"quantization_status": "frozen", "something_new": 1, "format": "pack-quantized"});
    let weights = json!({"actorder": "static", "scale_dtype": "torch.bfloat16", "zp_dtype": null, "observer": "mse"});
    assert!(reader(&config(&top, &json!({"format": null}), &weights)).is_ok());
}

#[test]
fn the_strategy_follows_from_the_group_size() {
    for (size, span) in [(json!(null), "w4ts-f32"), (json!(-1), "w4cs-f32"), (json!(64), "w4g64s-f32")] {
        let weight = layer(span, 4, 100, 7);
        let mut memory = Memory::default();
        memory.add("a.q", &weight);
        let config = config(&json!({}), &json!({}), &json!({"strategy": null, "group_size": size}));
        assert_eq!(reader(&config).unwrap().decode("a.q", &memory).unwrap(), weight);
    }
}

/// Two groups, 4 and 8 bits, with these targets; the scheme that the reader gives to `a.q`.
fn resolve(four: &[&str], eight: &[&str], ignore: &[&str]) -> std::result::Result<u8, String> {
    let group =
        |bits: u8, targets: &[&str]| json!({"targets": targets, "weights": {"num_bits": bits, "strategy": "channel"}});
    let config = json!({"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ignore,
                        "config_groups": {"four": group(4, four), "eight": group(8, eight)}});
    let reader = reader(&config).unwrap();
    let found = [4, 8].map(|bits| {
        let mut memory = Memory::default();
        memory.add("a.q", &layer(&format!("w{bits}cs"), 4, 32, 0));
        reader.layers(&memory).map(|layers| layers[0].scheme.bits().get()).map_err(|e| e.to_string())
    });
    let [four, eight] = found;
    four.or(eight)
}

#[test]
fn the_most_specific_target_wins_and_ignore_above_all() {
    assert_eq!(resolve(&["Linear"], &["a.q"], &[]), Ok(8));
    assert_eq!(resolve(&["Linear"], &["re:a"], &[]), Ok(8));
    assert_eq!(resolve(&["re:.*q$"], &["a.q"], &[]), Ok(8));
    assert_eq!(resolve(&["Linear"], &["q", "re:q", "a"], &[]), Ok(4), "only whole paths, from their start");
    assert_eq!(resolve(&["a.q"], &["a.k"], &["lm_head"]), Ok(4));
    for ignore in ["a.q", "re:.*q", "Linear"] {
        assert!(resolve(&["a.q"], &[], &[ignore]).unwrap_err().contains("ignore"), "{ignore}");
    }
    for (four, eight) in [("a.q", "a.q"), ("re:a", "re:.*q"), ("Linear", "Linear")] {
        let error = resolve(&[four], &[eight], &[]).unwrap_err();
        assert!(error.contains("a.q") && error.contains("four") && error.contains("eight"), "{error}");
    }
    assert!(resolve(&["a.k"], &["b"], &[]).unwrap_err().contains("a.q: no config group"));
}

/// What must be said about a layer of `scheme` at `a.q`, `[4, 64]`, after `damage`.
fn refused(scheme: &str, damage: impl Fn(&mut Memory), words: &[&str]) {
    let weight = layer(scheme, 4, 64, 3);
    let mut memory = Memory::default();
    memory.add("a.q", &weight);
    let reader = reader(&CompressedTensors.config(&[LayerSpec::of("a.q", &weight)], &[]).unwrap()).unwrap();
    assert!(reader.decode("a.q", &memory).is_ok());
    damage(&mut memory);
    let text = reader.decode("a.q", &memory).expect_err(words[0]).to_string();
    for word in words.iter().chain(&["a.q", "model"]) {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
}

#[test]
fn malformed_layers_are_refused_by_name() {
    let shape = |rows: i64, cols: i64| [rows.to_le_bytes(), cols.to_le_bytes()].concat();
    let set = |name: &'static str, dtype: &'static str, extents: &'static [usize], bytes: Vec<u8>| {
        move |memory: &mut Memory| memory.set(&format!("a.q.{name}"), dtype, extents, bytes.clone())
    };
    for name in ["weight_packed", "weight_scale", "weight_shape", "weight_zero_point"] {
        refused("w4g32a", |memory| drop(memory.0.remove(&format!("a.q.{name}"))), &[name, "missing"]);
    }
    refused("w4g32s", set("weight_zero_point", "I32", &[1, 2], vec![0; 8]), &["weight_zero_point", "symmetric"]);
    refused("w4g32s", set("weight_g_idx", "I32", &[64], vec![0; 256]), &["weight_g_idx", "actorder"]);
    // Codes: type, shape, byte count.
    refused("w4g32s", set("weight_packed", "F32", &[4, 8], vec![0; 128]), &["weight_packed", "[4, 8]", "F32"]);
    refused("w4g32s", set("weight_packed", "I32", &[4, 7], vec![0; 112]), &["weight_packed", "[4, 7]"]);
    refused("w4g32s", set("weight_packed", "I32", &[4, 8], vec![0; 127]), &["weight_packed", "127 bytes"]);
    refused("w4g32s", set("weight_packed", "I32", &[usize::MAX, 8], vec![0; 128]), &["weight_packed"]);
    refused("w3g32s", set("weight_packed", "I32", &[4, 7], vec![0; 112]), &["weight_packed", "[4, 6]", "3 bits"]);
    // Scales.
    refused("w4g32s", set("weight_scale", "F16", &[4, 3], vec![0; 24]), &["weight_scale", "[4, 2]"]);
    refused("w4g32s", set("weight_scale", "F16", &[2, 4], vec![0; 16]), &["weight_scale", "[4, 2]"]);
    refused("w4g32s", set("weight_scale", "F8_E4M3", &[4, 2], vec![0; 8]), &["weight_scale", "F8_E4M3"]);
    refused("w4g32s", set("weight_scale", "I32", &[4, 2], vec![0; 32]), &["weight_scale", "I32"]);
    refused("w4g32s", set("weight_scale", "F16", &[4, 2], vec![0xff; 16]), &["weight_scale 0", "NaN"]);
    refused("w8cs", set("weight_scale", "F16", &[4], vec![0; 8]), &["weight_scale", "[4, 1]"]);
    refused("w8ts", set("weight_scale", "F16", &[4, 1], vec![0; 8]), &["weight_scale", "[1]"]);
    // The shape.
    refused("w4g32s", set("weight_shape", "I64", &[2], shape(4, 65)), &["weight_packed", "(4, 65)"]);
    refused("w4g32s", set("weight_shape", "I64", &[2], shape(5, 64)), &["weight_packed", "(5, 64)"]);
    refused("w4g32s", set("weight_shape", "I64", &[2], shape(0, 64)), &["weight_shape"]);
    refused("w4g32s", set("weight_shape", "I64", &[2], shape(-4, 64)), &["weight_shape", "negative"]);
    refused("w4g32s", set("weight_shape", "I64", &[2], shape(i64::MAX, i64::MAX)), &["weight_shape"]);
    refused("w4g32s", set("weight_shape", "I32", &[2], vec![4, 0, 0, 0, 64, 0, 0, 0]), &["weight_shape", "I64"]);
    refused("w4g32s", set("weight_shape", "I64", &[3], vec![1; 24]), &["weight_shape", "[2]"]);
    // Zero points: 4 rows of 4 bits fit one word.
    refused("w4g32a", set("weight_zero_point", "I32", &[4, 2], vec![0; 32]), &["weight_zero_point", "[1, 2]"]);
    refused("w4g32a", set("weight_zero_point", "I8", &[1, 2], vec![0; 2]), &["weight_zero_point", "I32"]);
    refused("w4ta", set("weight_zero_point", "I32", &[1], vec![0; 4]), &["weight_zero_point", "I8"]);
    refused("w4ta", set("weight_zero_point", "I8", &[1], vec![8]), &["weight_zero_point", "4-bit"]);
}

#[test]
fn a_targeted_layer_that_is_stored_dense_is_refused() {
    let plan = Plan::from_iter([("a.q", "w4cs".parse().unwrap()), ("a.k", "w8cs".parse().unwrap())]);
    let mut memory = Memory::default();
    memory.add("a.q", &layer("w4cs", 4, 32, 0));
    memory.set("a.k.weight", "F32", &[1], vec![0; 4]);
    let reader = reader(&CompressedTensors.config(&layers_of(&plan), &[]).unwrap()).unwrap();
    assert!(reader.layers(&memory).unwrap_err().to_string().contains("a.k"));
}

#[test]
fn weights_whose_parts_disagree_are_not_written() {
    let mut weight = layer("w4g32a", 4, 64, 3);
    weight.scales.pop();
    assert!(matches!(
        CompressedTensors.encode(&LayerSpec::of("a", &weight), &weight, Dtype::F32),
        Err(Error::Shape { .. })
    ));
}

/// Every input that the format has room for.
fn inputs() -> [LayerInput; 4] {
    let fixed = |zero| LayerInput::Static { scale: 0.012_345_679, zero };
    [LayerInput::Tokens, LayerInput::TokensAsymmetric, fixed(0), fixed(-77)]
}

#[test]
fn layers_with_int8_inputs_read_back() {
    let mut memory = Memory::default();
    let mut layers = vec![LayerSpec::of("packed", &layer("w4g32s", 5, 70, 1))];
    let mut weights = vec![layer("w4g32s", 5, 70, 1)];
    for (i, scheme) in ["w8cs", "w8ca-f32", "w8ts-bf16", "w8ta"].into_iter().enumerate() {
        for (k, input) in inputs().into_iter().enumerate() {
            let weight = layer(scheme, 5, 71, (4 * i + k) as u32);
            layers.push(LayerSpec::of(&format!("m.{i}.{k}"), &weight).with_input(input));
            weights.push(weight);
        }
    }
    layers.iter().zip(&weights).for_each(|(layer, weight)| memory.add_with(layer, weight));
    let config = CompressedTensors.config(&layers, &[]).unwrap();
    assert_eq!(config["format"], "mixed-precision");
    let reader = reader(&serde_json::from_str(&config.to_string()).unwrap()).unwrap();
    let mut found = reader.layers(&memory).unwrap();
    let order = |layer: &LayerSpec| layers.iter().position(|own| own.path == layer.path);
    found.sort_by_key(order);
    assert_eq!(found, layers);
    for (layer, weight) in layers.iter().zip(&weights) {
        assert_eq!(reader.decode(&layer.path, &memory).unwrap(), *weight, "{}", layer.path);
    }
    // Codes lie one a byte, counted from -128.
    let [first, ..] = weights[1].unpack().unwrap().codes()[..] else { panic!("there are 355") };
    assert_eq!(memory.0["m.0.0.weight"].2[0].cast_signed(), (i16::from(first) - 128) as i8);
}

#[test]
fn int8_inputs_are_described_as_the_package_does() {
    let weight = layer("w8cs", 4, 32, 0);
    let described = |input: LayerInput| {
        let layer = LayerSpec::of("a.q", &weight).with_input(input);
        CompressedTensors.config(&[layer], &[]).unwrap()["config_groups"]["group_0"].clone()
    };
    let tokens = described(LayerInput::Tokens);
    assert_eq!(tokens["format"], "int-quantized");
    let [dynamic, fixed] = [&tokens, &described(inputs()[3].clone())].map(|group| group["input_activations"].clone());
    assert_eq!(
        (&dynamic["strategy"], &dynamic["dynamic"], &dynamic["symmetric"]),
        (&json!("token"), &json!(true), &json!(true))
    );
    assert_eq!(
        (&fixed["strategy"], &fixed["dynamic"], &fixed["symmetric"]),
        (&json!("tensor"), &json!(false), &json!(false))
    );
    // Fewer bits lie packed, for readers that know of inputs beside them.
    for scheme in ["w2cs", "w4ts"] {
        let weight = layer(scheme, 4, 32, 0);
        let layer = LayerSpec::of("a.q", &weight).with_input(LayerInput::Tokens);
        assert!(matches!(CompressedTensors.fit(&layer), Fit::OwnReader(_)), "{scheme}");
        let mut memory = Memory::default();
        memory.add_with(&layer, &weight);
        let config = CompressedTensors.config(&[layer], &[]).unwrap();
        assert_eq!(config["config_groups"]["group_0"]["format"], "pack-quantized");
        assert_eq!(reader(&config).unwrap().layers(&memory).unwrap()[0].input, LayerInput::Tokens);
    }
    // Codes in groups have no int8 inputs, packed ones none with zero points, and no format has a scale for each block.
    for (scheme, input) in [
        ("w8g32s", LayerInput::Tokens),
        ("w4g32s", LayerInput::Tokens),
        ("w4cs", LayerInput::TokensAsymmetric),
        ("w8cs", LayerInput::Blocks),
    ] {
        let layer = LayerSpec::of("a.q", &layer(scheme, 4, 32, 0)).with_input(input);
        assert!(matches!(CompressedTensors.fit(&layer), Fit::Refused(_)), "{scheme}");
        assert!(matches!(CompressedTensors.tensors(&layer, Dtype::F32), Err(Error::Unsupported { .. })));
    }
}

#[test]
fn malformed_layers_with_int8_inputs_are_refused_by_name() {
    let refused = |input: &LayerInput, name: &str, replacement: Option<(&str, &[usize], Vec<u8>)>, words: &[&str]| {
        let weight = layer("w8ca-f32", 4, 32, 3);
        let layer = LayerSpec::of("a.q", &weight).with_input(input.clone());
        let mut memory = Memory::default();
        memory.add_with(&layer, &weight);
        let reader = reader(&CompressedTensors.config(&[layer], &[]).unwrap()).unwrap();
        let key = format!("a.q.{name}");
        match replacement {
            Some((dtype, shape, bytes)) => memory.set(&key, dtype, shape, bytes),
            None => drop(memory.0.remove(&key)),
        }
        let text = reader.decode("a.q", &memory).expect_err(name).to_string();
        assert!(words.iter().chain(&["a.q", name]).all(|word| text.contains(word)), "{text}");
    };
    let [tokens, _, symmetric, fixed] = inputs();
    for name in ["weight", "weight_scale", "weight_zero_point", "input_scale", "input_zero_point"] {
        refused(&fixed, name, None, &["missing"]);
    }
    refused(&tokens, "weight", Some(("I8", &[128], vec![0; 128])), &["two axes"]);
    refused(&tokens, "weight", Some(("F32", &[4, 32], vec![0; 512])), &["F32"]);
    refused(&tokens, "weight_zero_point", Some(("I8", &[4], vec![0; 4])), &["[4, 1]"]);
    refused(&fixed, "input_scale", Some(("F32", &[2], vec![0; 8])), &["[1]"]);
    refused(&fixed, "input_scale", Some(("F32", &[1], f32::NAN.to_le_bytes().to_vec())), &["NaN", "no scale"]);
    refused(&fixed, "input_scale", Some(("F32", &[], vec![0; 4])), &["is 0"]);
    refused(&fixed, "input_scale", Some(("I8", &[1], vec![1])), &["I8"]);
    refused(&symmetric, "input_zero_point", Some(("I8", &[1], vec![3])), &["symmetric"]);
    refused(&fixed, "input_zero_point", Some(("I32", &[1], vec![0; 4])), &["I32"]);
}

#[test]
fn inputs_that_are_not_computed_here_are_refused_by_field() {
    let layer = LayerSpec::of("a.q", &layer("w8cs", 4, 32, 0)).with_input(LayerInput::Tokens);
    let config = CompressedTensors.config(&[layer], &[]).unwrap();
    for (fields, word) in [
        (json!({"num_bits": 4}), "input_activations"),
        (json!({"type": "float"}), "input_activations"),
        (json!({"dynamic": "local"}), "dynamic"),
        (json!({"dynamic": false}), "strategy"),
        (json!({"strategy": "group"}), "strategy"),
        (json!({"colour": 1}), "colour"),
    ] {
        let mut config = config.clone();
        let at = config.pointer_mut("/config_groups/group_0/input_activations").unwrap();
        at.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let text = reader(&config).expect_err(word).to_string();
        assert!(text.contains(word) && text.contains("group_0"), "{word}: {text}");
    }
}
