//! `--gpu-memory-mb` and `--cpu-offload`.

use bitsmith::model::Room;

/// How much of a model a GPU may hold.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct RoomArgs {
    /// Most megabytes of weights on the GPU; caches and activations come on top [default: whatever it takes]
    #[arg(long, value_name = "MB")]
    gpu_memory_mb: Option<u32>,
    /// Blocks beyond --gpu-memory-mb, and last norm and head with them, are computed on the CPU. Each pass waits once for what
    /// the GPU gives; logits are the same within rounding
    #[arg(long, requires = "gpu_memory_mb")]
    cpu_offload: bool,
}

impl RoomArgs {
    /// What was asked for, if anything was.
    pub(super) fn room(self) -> Option<Room> {
        let bytes = u64::from(self.gpu_memory_mb?) * 1_000_000;
        Some(Room { bytes, offload: self.cpu_offload })
    }
}
