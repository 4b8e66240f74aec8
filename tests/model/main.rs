//! Whole models, on every device present: logits against transformers, the cache against a full recompute, quantized
//! models saved and read again, and what is said of folders that do not fit together. `BITSMITH_REQUIRE=wgpu,emulated`
//! makes a missing device a failure.

mod bitnet;
mod cache;
#[cfg(feature = "cuda")]
#[path = "../cuda/emulated.rs"]
mod emulated;
mod int8;
mod logits;
mod refusals;
mod saved;
mod split;
mod work;

use std::path::{Path, PathBuf};

use bitsmith::model::{Cache, Model};
use bitsmith::{Device, Recorder};
use libtest_mimic::{Arguments, Failed, Trial};

type Outcome = Result<(), Failed>;

/// A folder below the root of the crate.
fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn shared() -> PathBuf {
    std::env::var_os("BITSMITH_SHARED").map_or_else(|| root("../shared"), PathBuf::from)
}

fn tiny_llama() -> PathBuf {
    root("examples/tiny-llama")
}

/// Logits `[ids, vocab_size]` of the next tokens of the cache's sequences.
fn logits(model: &Model, ids: &[u32], cache: &mut Cache) -> bitsmith::Result<Vec<f32>> {
    let mut rec = Recorder::new(model.device());
    let hidden = model.hidden(&mut rec, ids, cache)?;
    let logits = model.logits(&mut rec, &hidden)?;
    rec.submit()?;
    pollster::block_on(logits.read(model.device()))
}

/// The largest difference; infinite where a length or a value is wrong.
fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return f32::INFINITY;
    }
    let differences = a.iter().zip(b).map(|(a, b)| if a.is_finite() { (a - b).abs() } else { f32::INFINITY });
    differences.fold(0.0, f32::max)
}

fn within(what: &str, found: f32, limit: f32) -> Outcome {
    if found <= limit {
        println!("{what}: {found:.2e} (limit {limit:.0e})");
        return Ok(());
    }
    Err(format!("{what}: {found:.3e} is over {limit:.0e}").into())
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, found: &T, expected: &T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}").into()) }
}

/// Ids that repeat and vary, all below `vocab`.
fn some_ids(count: u32, vocab: u32) -> Vec<u32> {
    (0..count).map(|i| (3 + i * 37 + 11 * (i / 5)) % vocab).collect()
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = refusals::trials();
    trials.extend(work::trials("cpu", || Ok(Device::cpu())));
    trials.extend(gpu_work());
    for (name, device) in devices() {
        match device {
            Ok(device) if name == EMULATED => trials.extend(logits::trials(&name, &device)),
            Ok(device) => {
                trials.extend(logits::trials(&name, &device));
                trials.extend(cache::trials(&name, &device));
                trials.extend(saved::trials(&name, &device));
                trials.extend(split::trials(&name, &device));
                trials.extend(int8::trials(&name, &device));
                trials.extend(bitnet::trials(&name, &device));
            }
            Err(why) => {
                let names = |d: &str| !d.is_empty() && name.starts_with(d);
                let required = std::env::var("BITSMITH_REQUIRE").is_ok_and(|r| r.split(',').any(names));
                let label = format!("{name} is absent: {why}");
                trials.push(Trial::test(label, move || Err(why.into())).with_ignored_flag(!required));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// A CUDA device that the host emulates: too slow for more than the logits.
const EMULATED: &str = "emulated cuda";

/// The CPU, every adapter, which may be none, and a CUDA device that the host emulates.
fn devices() -> Vec<(String, Result<Device, String>)> {
    let mut devices = vec![("cpu".to_owned(), Ok(Device::cpu()))];
    devices.extend(adapters());
    #[cfg(feature = "cuda")]
    devices.push((EMULATED.to_owned(), emulated_cuda()));
    devices
}

#[cfg(feature = "cuda")]
fn emulated_cuda() -> Result<Device, String> {
    use bitsmith::device::cuda::CudaDevice;
    let device = CudaDevice::open_from(&emulated::driver()?, 0);
    device.map(|d| Device::Cuda(d.into())).map_err(|e| e.to_string())
}

#[cfg(feature = "wgpu")]
fn adapters() -> Vec<(String, Result<Device, String>)> {
    use bitsmith::device::wgpu::WgpuDevice;
    let found = pollster::block_on(WgpuDevice::list());
    if found.is_empty() {
        return vec![("wgpu".to_owned(), Err("no adapter found".to_owned()))];
    }
    let open = |(i, caps): (usize, &bitsmith::device::Caps)| {
        let name = format!("wgpu:{}", caps.name.split(' ').next().unwrap_or_default());
        let device = pollster::block_on(WgpuDevice::open(i)).map(|d| Device::Wgpu(d.into()));
        (name, device.map_err(|e| e.to_string()))
    };
    found.iter().enumerate().map(open).collect()
}

/// On the best adapter; whether there must be one is said by the trials of every device.
#[cfg(feature = "wgpu")]
fn gpu_work() -> Vec<Trial> {
    use bitsmith::device::wgpu::WgpuDevice;
    if pollster::block_on(WgpuDevice::list()).is_empty() {
        return Vec::new();
    }
    work::trials("wgpu", || match pollster::block_on(WgpuDevice::open(0)) {
        Ok(device) => Ok(Device::Wgpu(device.into())),
        Err(error) => Err(error.to_string()),
    })
}

#[cfg(not(feature = "wgpu"))]
fn gpu_work() -> Vec<Trial> {
    Vec::new()
}

#[cfg(not(feature = "wgpu"))]
fn adapters() -> Vec<(String, Result<Device, String>)> {
    vec![("wgpu".to_owned(), Err("built without the feature wgpu".to_owned()))]
}
