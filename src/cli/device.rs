//! `--device`.

use bitsmith::{Device, DeviceRequest, Result, check};

/// Where to compute.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct DeviceArg {
    /// Where to compute: auto (a GPU that passes its self-test, an NVIDIA card first, else the CPU), cpu, wgpu (the best
    /// adapter), cuda (the first NVIDIA card), wgpu:N or cuda:N (the one of that name in `bitsmith devices`)
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceRequest::Auto)]
    device: DeviceRequest,
}

impl DeviceArg {
    pub(super) async fn open(self) -> Result<Device> {
        check::open_device(&self.device).await
    }
}
