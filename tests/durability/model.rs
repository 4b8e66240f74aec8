//! A model of random weights with many small layers, in several files.

use std::fs;
use std::path::Path;

use bitsmith::io::{CheckpointWriter, ShardPlan, StoredDtype, TensorSpec};

/// Blocks of the model. Together with the size of a layer this sets how long a run takes: long enough to be killed in
/// the middle, short enough to be done forty times.
const BLOCKS: usize = 48;
const HIDDEN: usize = 256;
const INTERMEDIATE: usize = 512;
/// The output head is kept as it is; larger than [`SHARD`], it gets a file of its own at the end.
const VOCABULARY: usize = 10_000;
/// Most bytes of a source file.
const SHARD: u64 = 4 << 20;

/// Tensors of the model, all counted.
pub const TENSORS: usize = BLOCKS * 9 + 1;

/// Writes the model into a new folder.
pub fn generate(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let mut specs = Vec::new();
    let mut add = |name: String, shape: &[usize]| specs.push(TensorSpec::new(name, StoredDtype::Bf16, shape));
    for block in 0..BLOCKS {
        let prefix = format!("model.layers.{block:02}");
        add(format!("{prefix}.input_layernorm.weight"), &[HIDDEN]);
        for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(format!("{prefix}.self_attn.{name}.weight"), &[HIDDEN, HIDDEN]);
        }
        for name in ["gate_proj", "up_proj"] {
            add(format!("{prefix}.mlp.{name}.weight"), &[INTERMEDIATE, HIDDEN]);
        }
        add(format!("{prefix}.mlp.down_proj.weight"), &[HIDDEN, INTERMEDIATE]);
        add(format!("{prefix}.post_attention_layernorm.weight"), &[HIDDEN]);
    }
    add("zzz.lm_head.weight".into(), &[VOCABULARY, HIDDEN]);
    let plan = ShardPlan::new(specs.clone(), SHARD).unwrap();
    assert!(plan.shards().len() > 5 && specs.len() == TENSORS);
    let mut writer = CheckpointWriter::create(folder, plan).unwrap();
    let mut state = 1u32;
    for spec in &specs {
        let values = (0..spec.bytes().unwrap() / 2).flat_map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Any sign and fraction, exponents of 2^-8 to 2^-1: finite and neither tiny nor huge.
            (((state >> 16) as u16 & 0x83FF) | 0x3B80).to_le_bytes()
        });
        writer.write(&spec.name, &values.collect::<Vec<u8>>()).unwrap();
    }
    writer.finish().unwrap();
    fs::write(folder.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    fs::write(folder.join("generation_config.json"), "{}").unwrap();
}

/// The source files, in their order.
pub fn shards(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    paths.sort();
    paths
}
