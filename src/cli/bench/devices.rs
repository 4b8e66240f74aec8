//! `--device` of a bench: one device, or all.

use std::str::FromStr;

use bitsmith::check::Scale;
use bitsmith::device::{Caps, DeviceKind};
use bitsmith::{DeviceRequest, Error, Result};

/// Where to measure.
#[derive(Clone, Copy, Debug)]
pub(super) enum Devices {
    /// The CPU and every GPU.
    All,
    /// What was named.
    One(DeviceRequest),
}

impl FromStr for Devices {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::One) }
    }
}

impl Devices {
    /// The devices by name; software adapters only where times mean nothing anyway.
    pub(super) async fn requests(self, scale: Scale) -> Vec<DeviceRequest> {
        if let Self::One(request) = self {
            return vec![request];
        }
        let counts = |caps: &Caps| caps.kind == DeviceKind::Gpu || scale == Scale::Quick;
        let gpus = adapters().await.into_iter().enumerate().filter(|(_, caps)| counts(caps));
        let gpus = gpus.map(|(index, _)| DeviceRequest::Wgpu(Some(index)));
        let cards = (0..cards()).map(|index| DeviceRequest::Cuda(Some(index)));
        std::iter::once(DeviceRequest::Cpu).chain(gpus).chain(cards).collect()
    }
}

#[cfg(feature = "wgpu")]
async fn adapters() -> Vec<Caps> {
    bitsmith::device::wgpu::WgpuDevice::list().await
}

#[cfg(not(feature = "wgpu"))]
async fn adapters() -> Vec<Caps> {
    Vec::new()
}

#[cfg(feature = "cuda")]
fn cards() -> usize {
    bitsmith::device::cuda::CudaDevice::list().map_or(0, |cards| cards.len())
}

#[cfg(not(feature = "cuda"))]
fn cards() -> usize {
    0
}
