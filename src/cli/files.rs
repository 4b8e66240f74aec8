//! How the files of a quantized model are written.

use bitsmith::io::ByteSize;

/// The files of a format.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct FileArgs {
    /// Refuse what readers of the format would not load, or would read with other numbers, instead of saying so
    #[arg(long)]
    pub(super) strict: bool,
    /// Largest weight file, such as 5GB or 500MB; gguf is one file
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(5_000_000_000))]
    pub(super) shard_size: ByteSize,
}
