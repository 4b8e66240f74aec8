//! `--device`.

use bitsmith::{Device, DeviceRequest, Result, check};

/// Where to compute.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct DeviceArg {
    /// Where to compute: auto (a GPU that passes its self-test, else the CPU), cpu, wgpu (the best adapter) or wgpu:N
    /// (adapter N of `bitsmith devices`)
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceRequest::Auto)]
    device: DeviceRequest,
}

impl DeviceArg {
    pub(super) async fn open(self) -> Result<Device> {
        check::open_device(&self.device).await
    }
}
