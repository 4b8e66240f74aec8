//! Quantizing holds about one layer, whatever the model's size: the peak of the whole program, mapped pages included.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// Output and input features of each layer: 32 MiB in bf16.
const SHAPE: [usize; 2] = [4096, 4096];
/// Layers of each file.
const PER_SHARD: usize = 4;
/// Size of the model in MiB, unless `BITSMITH_MEMORY_MIB` says otherwise.
const MODEL: usize = 640;
/// The most that the program may hold, in MiB. A layer takes 32; one is read while another lies on the device, from
/// where it was read, and what is made of the two takes less than 32 in all. Beside it stand the program and its
/// threads. Output that stayed mapped would take 160 more.
const ALLOWED: usize = 160;

/// A model of random bf16 layers in several files; returns its size in MiB.
fn generate(folder: &Path, mebibytes: usize) -> usize {
    let bytes = 2 * SHAPE[0] * SHAPE[1];
    let shards = mebibytes.div_ceil((PER_SHARD * bytes) >> 20);
    let mut weight_map = Map::new();
    let mut state = 1u32;
    for shard in 0..shards {
        let file = format!("model-{:05}-of-{shards:05}.safetensors", shard + 1);
        let mut header = Map::new();
        for i in 0..PER_SHARD {
            let name = format!("model.layers.{}.mlp.up_proj.weight", shard * PER_SHARD + i);
            let offsets = [i * bytes, (i + 1) * bytes];
            header.insert(name.clone(), json!({"dtype": "BF16", "shape": SHAPE, "data_offsets": offsets}));
            weight_map.insert(name, file.as_str().into());
        }
        let header = Value::Object(header).to_string();
        let mut out = std::io::BufWriter::new(fs::File::create(folder.join(file)).unwrap());
        out.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        out.write_all(header.as_bytes()).unwrap();
        for _ in 0..PER_SHARD {
            let values = (0..bytes / 2).flat_map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Any sign and fraction, exponents of 2^-8 to 2^-1: finite and neither tiny nor huge.
                let bits = ((state >> 16) as u16 & 0x83FF) | 0x3B80;
                bits.to_le_bytes()
            });
            out.write_all(&values.collect::<Vec<u8>>()).unwrap();
        }
    }
    fs::write(folder.join("model.safetensors.index.json"), json!({"weight_map": weight_map}).to_string()).unwrap();
    fs::write(folder.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    (shards * PER_SHARD * bytes) >> 20
}

/// Peak resident memory of a running process in MiB, as the kernel counts it; none once it has ended.
fn peak(process: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok().map(|kib| kib >> 10)
}

#[test]
fn quantizing_holds_about_one_layer() {
    let wanted = std::env::var("BITSMITH_MEMORY_MIB").map_or(MODEL, |mib| mib.parse().unwrap());
    // Not in the system's folder for small files, which may itself lie in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    let size = generate(&model, wanted);

    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bitsmith"))
        .args(["quantize", "--method", "rtn", "--bits", "4", "--device", "cpu", "--json", "--out"])
        .args([&folder.path().join("out"), &model])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut most = 0;
    let status = loop {
        most = most.max(peak(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        // The kernel keeps the peak, so only what the last moment adds can be missed.
        sleep(Duration::from_millis(5));
    };
    let seconds = start.elapsed().as_secs_f64();
    let speed = (size << 20) as f64 / seconds / 1e9;
    println!("{size} MiB quantized in {seconds:.1} s ({speed:.2} GB of input a second) with a peak of {most} MiB");
    assert!(status.success());
    assert!(most > 0, "no peak was read");
    assert!(size >= 4 * ALLOWED, "a model of {size} MiB shows nothing");
    assert!(most < ALLOWED, "{most} MiB held for a model of {size} MiB");
}
