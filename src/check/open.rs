//! Opening a device that can be trusted.

use crate::device::{Device, DeviceRequest};
#[cfg(not(feature = "wgpu"))]
use crate::error::Error;
use crate::error::Result;

/// Opens what is asked for; every GPU must pass the [self-test](super::self_test).
///
/// `auto` takes the first real GPU that passes, else the CPU; a software adapter is used only when asked for by name.
///
/// ```
/// use bitsmith::check::open_device;
/// let device = pollster::block_on(open_device(&"cpu".parse()?))?;
/// assert_eq!(device.caps().backend, "cpu");
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] if a named adapter is not there, [`Error::Device`] if it cannot be opened or computes wrongly.
pub async fn open_device(request: &DeviceRequest) -> Result<Device> {
    match request {
        DeviceRequest::Cpu => Ok(Device::cpu()),
        DeviceRequest::Auto => Ok(best_gpu().await.unwrap_or_else(Device::cpu)),
        DeviceRequest::Wgpu(index) => wgpu(index.unwrap_or(0)).await,
    }
}

#[cfg(feature = "wgpu")]
async fn wgpu(index: usize) -> Result<Device> {
    let device = Device::Wgpu(crate::device::wgpu::WgpuDevice::open(index).await?.into());
    super::self_test(&device).await?;
    Ok(device)
}

#[cfg(not(feature = "wgpu"))]
async fn wgpu(_: usize) -> Result<Device> {
    Err(Error::config("device", "this bitsmith was built without the feature `wgpu`; use cpu"))
}

#[cfg(feature = "wgpu")]
async fn best_gpu() -> Option<Device> {
    use crate::device::DeviceKind;
    for (index, caps) in crate::device::wgpu::WgpuDevice::list().await.iter().enumerate() {
        if caps.kind != DeviceKind::Gpu {
            continue;
        }
        match wgpu(index).await {
            Ok(device) => return Some(device),
            Err(error) => tracing::warn!(%error, "this GPU is not used"),
        }
    }
    None
}

#[cfg(not(feature = "wgpu"))]
async fn best_gpu() -> Option<Device> {
    None
}
