//! ONNX: every layer is a file with its node, its constants lie where the file says, and read back as they were.

use std::collections::BTreeMap;
use std::path::Path;

use bitsmith::export::{Container, Fit, LayerSpec, WholeModel, exporter};
use bitsmith::io::{CheckpointWriter, FileLayout, SafetensorsWriter, StoredDtype, TensorInfo, TensorSpec};
use bitsmith::progress::Silent;
use bitsmith::quant::{ExportRequest, Exported, QuantizeRequest, Rtn, RtnConfig, export_model, quantize_model};
use bitsmith::scheme::uniform;
use bitsmith::{Device, Dtype, PackedTensor, QuantizedTensor, Scheme};
use proptest::prelude::*;
use serde_json::json;

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

/// Writes layers into a folder, the first one with a bias.
fn written(folder: &Path, layers: &[(String, PackedTensor)], shard_size: u64) -> Box<dyn Container> {
    let format = exporter("onnx").unwrap();
    let specs: Vec<LayerSpec> = layers.iter().map(|(path, weight)| LayerSpec::of(path, weight)).collect();
    let config = json!({"quantization_config": format.config(&specs, &[]).unwrap()});
    let model = WholeModel { folder, name: "model", config: &config, shard_size };
    let container = format.container(&model).unwrap();
    let rows = layers[0].1.rows;
    let bias = |name: &str, rows: usize| {
        let (name, dtype) = (name.to_owned(), StoredDtype::F16);
        TensorInfo { name, dtype, shape: vec![rows], range: 0..rows * 2 }
    };
    let own = bias(&format!("{}.bias", layers[0].0), rows);
    assert!(container.kept(&bias("model.norm.bias", rows)).unwrap().is_none());
    let mut tensors = vec![container.kept(&own).unwrap().unwrap()];
    specs.iter().for_each(|spec| tensors.extend(format.tensors(spec, Dtype::F16).unwrap()));
    let mut writer = CheckpointWriter::create_files(folder, container.files(&tensors).unwrap()).unwrap();
    let half = Dtype::F16.encode(&vec![0.5; rows]);
    writer.write(&own.name, &container.convert(&own, half.into()).unwrap()).unwrap();
    for (spec, (_, weight)) in specs.iter().zip(layers) {
        for (name, bytes) in format.encode(spec, weight, Dtype::F16).unwrap() {
            writer.write(&name, &bytes).unwrap();
        }
    }
    writer.finish().unwrap();
    container
}

const SCHEMES: [&str; 10] =
    ["w2g32s", "w4g64s", "w8cs", "w4ts", "w4g32a", "w2g16a", "w8g512a", "w1.58ts", "w4g48s", "w4g128s-f32"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_written_reads_back(rows in 1..9_usize, cols in 1..300_usize, seed in any::<u32>(), shard in 1_u64..20_000) {
        let folder = tempfile::tempdir().unwrap();
        let layers: Vec<_> = SCHEMES.into_iter().enumerate().map(|(i, scheme)| {
            (format!("model.layers.{i}.up_proj"), layer(scheme, rows, cols, seed ^ i as u32))
        }).collect();
        let container = written(folder.path(), &layers, shard);
        let (reader, source) = container.opened(folder.path()).unwrap().unwrap();
        prop_assert_eq!(reader.layers(&*source).unwrap().len(), layers.len());
        for (path, weight) in &layers {
            let found = reader.decode(path, &*source).unwrap();
            prop_assert_eq!(&found.codes, &weight.codes, "{}", weight.scheme);
            prop_assert_eq!(found.unpack().unwrap().dequantize(), weight.unpack().unwrap().dequantize(), "{}", weight.scheme);
        }
        let bias = source.find("model.layers.0.up_proj.bias").unwrap().unwrap();
        prop_assert_eq!(bias.bytes, Dtype::F32.encode(&vec![0.5; rows]));
    }
}

/// Nodes hold shape, width and block, and constants lie at pages of the file that they name.
#[test]
fn a_file_of_a_layer() {
    let folder = tempfile::tempdir().unwrap();
    let layers = [("a.b".to_owned(), layer("w4g32a", 4, 80, 1))];
    written(folder.path(), &layers, u64::MAX);
    let graph = std::fs::read(folder.path().join("a.b.onnx")).unwrap();
    for text in ["MatMulNBits", "com.microsoft", "block_size", "a.b.codes", "a.b.bias", "weights-00001.data", "tokens"]
    {
        assert!(graph.windows(text.len()).any(|part| part == text.as_bytes()), "{text}");
    }
    // The bias comes first here, then the codes: rows of three blocks of 16 bytes, the last of which is half empty.
    let data = std::fs::read(folder.path().join("weights-00001.data")).unwrap();
    let codes: Vec<u8> = layers[0]
        .1
        .codes
        .chunks(10)
        .flat_map(|row| row.iter().flat_map(|word| word.to_le_bytes()).chain([0; 8]))
        .collect();
    assert_eq!(&data[4096..][..codes.len()], codes);
    assert_eq!(data.len(), 4 * 4096);
}

#[test]
fn what_is_damaged_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let container = written(folder.path(), &[("a.b".to_owned(), layer("w4g32a", 4, 64, 1))], u64::MAX);
    let path = folder.path().join("a.b.onnx");
    let graph = std::fs::read(&path).unwrap();
    let replaced = |from: &str, to: &str| {
        let at = graph.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        [&graph[..at], to.as_bytes(), &graph[at + from.len()..]].concat()
    };
    for (bytes, expected) in [
        (graph[..graph.len() / 2].to_vec(), "no ONNX file"),
        (replaced("MatMulNBits", "MatMulNBitz"), "no MatMulNBits"),
        (replaced("block_size", "block_siza"), "no layer"),
        (replaced("a.b.codes", "a.b.c0des"), "other constants"),
        (replaced("a.b.bias", "a.b.bios"), "take the bias"),
        (replaced("location", "lokation"), "no place"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let found = container.opened(folder.path()).err().unwrap().to_string();
        assert!(found.contains(expected) && found.contains("a.b.onnx"), "{found}");
    }
    std::fs::write(&path, &graph).unwrap();
    std::fs::write(folder.path().join("weights-00001.data"), [0; 100]).unwrap();
    let found = container.opened(folder.path()).err().unwrap().to_string();
    assert!(found.contains("ends behind weights-00001.data"), "{found}");
}

/// Exports a folder, refusing whatever other readers would see otherwise.
fn export(from: &Path, format: &str, to: &Path) -> bitsmith::Result<Exported> {
    let request = ExportRequest { strict: true, ..ExportRequest::new(from, to, format) };
    export_model(&request, &mut Silent)
}

#[test]
fn a_quantized_model_and_an_exported_one_are_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let rtn = Rtn::new(RtnConfig::default()).unwrap();
    for format in ["onnx", "gptq"] {
        let request =
            QuantizeRequest { format: format.to_owned(), ..QuantizeRequest::new("examples/tiny-llama", at(format)) };
        pollster::block_on(quantize_model(&Device::cpu(), &rtn, &request, &mut Silent)).unwrap();
    }
    let done = export(&at("gptq"), "onnx", &at("exported")).unwrap();
    assert_eq!(done.layers, 4 * 7);
    assert!(done.notes.iter().any(|note| note.contains("no other tensor")), "{:?}", done.notes);
    let files = |name: &str| {
        let entries = std::fs::read_dir(at(name)).unwrap().map(|entry| entry.unwrap().path());
        let files = entries.filter(|path| path.file_name().is_some_and(|name| name != "bitsmith.json"));
        files
            .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(path).unwrap()))
            .collect::<BTreeMap<_, _>>()
    };
    let direct = files("onnx");
    // The layers, and what they weigh.
    assert_eq!(direct.len(), 4 * 7 + 1);
    assert!(direct == files("exported"));
    let again = ExportRequest { force: true, ..ExportRequest::new(at("gptq"), at("exported"), "onnx") };
    export_model(&again, &mut Silent).unwrap();
    assert!(direct == files("exported"), "it was replaced");
    let error = export(&at("onnx"), "gptq", &at("again")).unwrap_err().to_string();
    assert!(error.contains("onnx"), "{error}");
}

#[test]
fn a_layer_is_a_file_in_the_folder() {
    let format = exporter("onnx").unwrap();
    let weight = layer("w4g32s", 32, 32, 1);
    for path in ["/etc/a", "../a", "a/b", "a\\b", "c:a", ""] {
        let spec = LayerSpec { path: path.to_owned(), ..LayerSpec::of("a", &weight) };
        assert!(matches!(format.fit(&spec), Fit::Refused(why) if why.contains("name of a file")), "{path}");
    }
    let folder = tempfile::tempdir().unwrap();
    for file in ["../a.onnx", "/a.onnx", "a/b.onnx", ".."] {
        let files = vec![FileLayout::whole(file, vec![1])];
        let error = CheckpointWriter::create_files(folder.path(), files).map(drop).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("folder"), "{error}");
    }
}

/// An f32 model holds its scales in f32, and they are numbers of f16 all the same.
#[test]
fn scales_of_f16_in_a_wider_type_are_not_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("model")).unwrap();
    let specs = [TensorSpec::new("a.weight", Dtype::F32, [32, 64])];
    let mut writer = SafetensorsWriter::create(&at("model").join("model.safetensors"), &specs).unwrap();
    let values: Vec<f32> = (0..32 * 64).map(|i| uniform(9, i) - 0.5).collect();
    writer.write("a.weight", &Dtype::F32.encode(&values)).unwrap();
    writer.finish().unwrap();
    std::fs::write(at("model").join("config.json"), "{}").unwrap();
    for (scale_type, fits) in [(Dtype::F16, true), (Dtype::F32, false)] {
        let (packed, out) = (at(&format!("{scale_type}")), at(&format!("{scale_type}-gptq")));
        let rtn = RtnConfig { group_size: "32".parse().unwrap(), scale_type, ..RtnConfig::default() };
        let request = QuantizeRequest::new(at("model"), &packed);
        pollster::block_on(quantize_model(&Device::cpu(), &Rtn::new(rtn).unwrap(), &request, &mut Silent)).unwrap();
        assert_eq!(export(&packed, "gptq", &out).is_ok(), fits, "{scale_type}");
    }
}
