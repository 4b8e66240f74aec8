//! What the writer writes, the checkpoint and the format's own library read back.

use std::path::Path;

use bitsmith::Dtype;
use bitsmith::io::{Checkpoint, CheckpointWriter, Checksum, SafetensorsWriter, ShardPlan, StoredDtype, TensorSpec};
use proptest::prelude::*;

use crate::{refused, write};

/// Bytes that differ from tensor to tensor and from place to place.
fn content(spec: &TensorSpec, seed: usize) -> Vec<u8> {
    (0..spec.bytes().unwrap() as usize).map(|i| (i * 31 + seed * 7 + 1) as u8).collect()
}

fn specs() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("z.first", Dtype::F32, [3, 5]),
        TensorSpec::new("odd", StoredDtype::U8, [7]),
        TensorSpec::new("empty", StoredDtype::I64, [0, 4]),
        TensorSpec::new("scalar", StoredDtype::F64, []),
        TensorSpec::new("half \"quoted\" ü", Dtype::F16, [2, 2, 2]),
        TensorSpec::new("codes", StoredDtype::I32, [4, 4]),
        TensorSpec::new("a.last", Dtype::Bf16, [9]),
    ]
}

fn write_all(folder: &Path, specs: &[TensorSpec], shard_size: u64, piece: usize) -> ShardPlan {
    let plan = ShardPlan::new(specs.to_vec(), shard_size).unwrap();
    let mut writer = CheckpointWriter::create(folder, plan.clone()).unwrap();
    for (seed, spec) in specs.iter().enumerate() {
        for chunk in content(spec, seed).chunks(piece) {
            writer.write(&spec.name, chunk).unwrap();
        }
    }
    writer.finish().unwrap();
    plan
}

fn check(folder: &Path, specs: &[TensorSpec]) {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let names: Vec<_> = checkpoint.names().collect();
    assert_eq!(names, specs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>());
    for (seed, spec) in specs.iter().enumerate() {
        let raw = checkpoint.raw(&spec.name).unwrap();
        assert_eq!((raw.dtype, raw.shape), (spec.dtype, spec.shape.as_slice()), "{}", spec.name);
        assert_eq!(raw.bytes, content(spec, seed), "{}", spec.name);
        checkpoint.release(&spec.name);
        assert_eq!(raw.bytes, content(spec, seed), "{} after its pages were given back", spec.name);
    }
    assert_eq!(checkpoint.total_bytes(), specs.iter().map(|s| s.bytes().unwrap()).sum::<u64>());
}

#[test]
fn one_file() {
    let folder = tempfile::tempdir().unwrap();
    let plan = write_all(folder.path(), &specs(), u64::MAX, 5);
    assert_eq!(plan.shards().len(), 1);
    check(folder.path(), &specs());

    let bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(header % 8, 0, "the data is aligned");
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (seed, spec) in specs().iter().enumerate() {
        let tensor = read.tensor(&spec.name).unwrap();
        assert_eq!((tensor.shape(), tensor.data()), (spec.shape.as_slice(), content(spec, seed).as_slice()));
        assert_eq!(tensor.dtype().to_string(), spec.dtype.name());
    }
}

#[test]
fn the_format_library_writes_what_we_read() {
    use safetensors::tensor::{Dtype, TensorView};
    let data: Vec<u8> = (0..24).collect();
    let views = [
        ("b", TensorView::new(Dtype::F32, vec![2, 3], &data).unwrap()),
        ("a", TensorView::new(Dtype::I8, vec![24], &data).unwrap()),
        ("c", TensorView::new(Dtype::F4, vec![48], &data).unwrap()),
    ];
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(["a", "b", "c"].iter().all(|name| checkpoint.raw(name).unwrap().bytes == data));
    assert_eq!(checkpoint.tensor("b").unwrap().shape(), [2, 3]);
    refused("integers", checkpoint.tensor("a"), &["model.safetensors", "tensor `a` holds I8", "F32, F16 or BF16"]);
    refused("no such tensor", checkpoint.tensor("d"), &["model.safetensors", "no tensor `d`"]);
    assert!(checkpoint.info("d").is_none() && !checkpoint.contains("d"));
}

#[test]
fn many_files() {
    let folder = tempfile::tempdir().unwrap();
    let plan = write_all(folder.path(), &specs(), 80, 1000);
    let files: Vec<_> = plan.shards().iter().map(|s| s.file.as_str()).collect();
    assert_eq!(
        files,
        ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"]
    );
    check(folder.path(), &specs());
    let index = std::fs::read(folder.path().join("model.safetensors.index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["metadata"]["total_size"], plan.total_size());
    assert_eq!(index["weight_map"]["codes"], "model-00002-of-00003.safetensors");
    let checkpoint = Checkpoint::open(&folder.path().join("model.safetensors.index.json")).unwrap();
    assert!(checkpoint.path_of("a.last").unwrap().ends_with("model-00003-of-00003.safetensors"));
    refused("no such tensor", checkpoint.raw("none"), &["no tensor `none`"]);
}

#[test]
fn a_tensor_over_the_limit_gets_its_own_file() {
    let specs: Vec<_> =
        [3, 100, 4, 6].iter().zip('a'..).map(|(n, c)| TensorSpec::new(c, StoredDtype::U8, [*n])).collect();
    let plan = ShardPlan::new(specs, 10).unwrap();
    let sizes: Vec<Vec<usize>> = plan.shards().iter().map(|s| s.tensors.iter().map(|t| t.shape[0]).collect()).collect();
    assert_eq!(sizes, [vec![3], vec![100], vec![4, 6]]);
}

#[test]
fn the_writer_takes_what_was_announced_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let two = [TensorSpec::new("a", StoredDtype::U8, [3]), TensorSpec::new("b", StoredDtype::U8, [2])];
    let mut writer = SafetensorsWriter::create(&path, &two).unwrap();
    refused("too many", writer.write("a", &[1; 4]), &["at most 3 bytes of `a`", "4 bytes"]);
    refused("unknown", writer.write("c", &[1]), &["x.safetensors", "`c`"]);
    // In any order, and from one to the other.
    writer.write("b", &[4]).unwrap();
    writer.write("a", &[1, 2, 3]).unwrap();
    refused("more of a full one", writer.write("a", &[1]), &["at most 0 bytes of `a`"]);
    writer.close().unwrap();
    assert!(!writer.is_complete());
    refused("unfinished", writer.finish(), &["2 bytes of `b`", "1 bytes"]);
    refused("exists", SafetensorsWriter::create(&path, &two), &["x.safetensors", "exists"]);

    // What is there is found, the rest is written.
    let mut writer = SafetensorsWriter::resume(&path, &two).unwrap();
    assert!(writer.holds("a", Checksum::of(&[1, 2, 3])).unwrap());
    assert!(!writer.holds("a", Checksum::of(&[1, 2, 4])).unwrap());
    assert!(!writer.holds("b", Checksum::of(&[4, 5])).unwrap(), "the file ends before it");
    writer.count("a");
    writer.write("b", &[4, 5]).unwrap();
    assert!(writer.is_complete());
    writer.finish().unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.raw("a").unwrap().bytes, [1, 2, 3]);
    assert_eq!(checkpoint.raw("b").unwrap().bytes, [4, 5]);

    let none = folder.path().join("z.safetensors");
    let create = |specs: &[TensorSpec]| SafetensorsWriter::create(&none, specs);
    refused("twice", create(&[two[0].clone(), two[0].clone()]), &["`a`", "twice"]);
    refused("reserved", create(&[TensorSpec::new("__metadata__", StoredDtype::U8, [1])]), &["reserved"]);
    refused("half a byte", create(&[TensorSpec::new("a", StoredDtype::F4, [1])]), &["`a`", "whole number"]);
    assert!(!none.exists(), "nothing is created for a list that cannot be written");
    refused("size 0", ShardPlan::new(two.to_vec(), 0), &["shard size"]);
}

#[test]
fn missing_shards_are_noticed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let two = vec![TensorSpec::new("a", StoredDtype::U8, [3]), TensorSpec::new("b", StoredDtype::U8, [2])];
    let plan = ShardPlan::new(two, 3).unwrap();
    let mut writer = CheckpointWriter::create(folder.path(), plan).unwrap();
    writer.write("a", &[1; 3]).unwrap();
    refused("unfinished", writer.finish(), &["2 bytes of `b`"]);
    assert!(!folder.path().join("model.safetensors.index.json").exists());
}

/// Kilobytes of mapped files that this process holds in memory.
#[cfg(target_os = "linux")]
fn resident_file_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("RssFile:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn streaming_a_model_holds_about_one_tensor() {
    const TENSOR: usize = 8 << 20;
    const TENSORS: usize = 12;
    /// Far below the 96 MiB of the file; above one tensor, since the kernel maps ahead and other tests run beside.
    const ALLOWED_KILOBYTES: u64 = 3 * (TENSOR as u64 >> 10);
    let specs: Vec<_> = (0..TENSORS).map(|i| TensorSpec::new(format!("t{i}"), StoredDtype::U8, [TENSOR])).collect();
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path(), &specs, u64::MAX, TENSOR);
    let before = resident_file_kilobytes();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    for name in checkpoint.names() {
        let sum: u64 = checkpoint.raw(name).unwrap().bytes.iter().map(|b| u64::from(*b)).sum();
        assert!(sum > 0);
        checkpoint.release(name);
        let held = resident_file_kilobytes().saturating_sub(before);
        assert!(held < ALLOWED_KILOBYTES, "{held} kB resident after {name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_split_comes_back(sizes in proptest::collection::vec(0usize..50, 1..12), shard in 1u64..120, piece in 1usize..40) {
        let all: Vec<_> = StoredDtype::all().filter(|d| d.bits() >= 8 && d.block().is_none()).collect();
        let specs: Vec<_> = sizes.iter().enumerate()
            .map(|(i, n)| TensorSpec::new(format!("t{i}"), all[(i * 5 + n) % all.len()], [*n]))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path(), &specs, shard, piece);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        for (seed, spec) in specs.iter().enumerate() {
            prop_assert_eq!(checkpoint.raw(&spec.name).unwrap().bytes, content(spec, seed));
        }
    }
}
