//! `bitsmith devices`.

use bitsmith::report::{AbsentDevice, DeviceReport, DeviceReports};
use bitsmith::{Device, Result, check};
use clap::Args;

use super::{Json, stdout};

/// List the devices of this machine, what each offers and whether it computes rightly
///
/// Each device runs a small part of its kernels against the plain implementation on the CPU. One that fails is never
/// used. The first column is what --device takes.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct Devices {
    #[command(flatten)]
    output: Json,
}

const EXAMPLE: &str = "\
Example:
  bitsmith devices --json";

impl Devices {
    pub(super) async fn run(&self) -> Result<()> {
        let cpu = Device::cpu();
        let cpu = DeviceReport::new("cpu", cpu.caps(), simd(), check::self_test(&cpu).await);
        let (cards, absent) = match cards().await {
            Ok(cards) => (cards, Vec::new()),
            Err(error) => (Vec::new(), vec![AbsentDevice { device: "cuda".into(), why: error.to_string() }]),
        };
        let devices = std::iter::once(cpu).chain(gpus().await).chain(cards).collect();
        let devices = DeviceReports { devices, absent };
        if self.output.json { stdout::json(&devices) } else { stdout::text(&devices.to_string()) }
    }
}

/// All adapters, those that cannot be opened too.
#[cfg(feature = "wgpu")]
async fn gpus() -> Vec<DeviceReport> {
    use bitsmith::device::wgpu::WgpuDevice;
    let mut reports = Vec::new();
    for (index, caps) in WgpuDevice::list().await.iter().enumerate() {
        let (caps, test) = match check::open_adapter(index).await {
            Ok((device, passed)) => (device.caps().clone(), Ok(passed)),
            Err(error) => (caps.clone(), Err(error)),
        };
        reports.push(DeviceReport::new(format!("wgpu:{index}"), &caps, Vec::new(), test));
    }
    reports
}

#[cfg(not(feature = "wgpu"))]
async fn gpus() -> Vec<DeviceReport> {
    Vec::new()
}

/// All NVIDIA cards, those that cannot be opened too, or why there are none.
#[cfg(feature = "cuda")]
async fn cards() -> Result<Vec<DeviceReport>> {
    use bitsmith::device::cuda::CudaDevice;
    let mut reports = Vec::new();
    for (index, caps) in CudaDevice::list()?.iter().enumerate() {
        let (caps, test) = match check::open_card(index).await {
            Ok((device, test)) => (device.caps().clone(), Ok(test)),
            Err(error) => (caps.clone(), Err(error)),
        };
        reports.push(DeviceReport::new(format!("cuda:{index}"), &caps, Vec::new(), test));
    }
    Ok(reports)
}

#[cfg(not(feature = "cuda"))]
async fn cards() -> Result<Vec<DeviceReport>> {
    Ok(Vec::new())
}

/// Instruction sets of this processor that kernels may use.
fn simd() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
    ];
    #[cfg(target_arch = "aarch64")]
    let found = [("neon", true)];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found: [(&'static str, bool); 0] = [];
    found.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}
