//! Which device somebody asks for.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A device by name: `auto`, `cpu`, `wgpu`, `wgpu:N`, `cuda`, `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceRequest {
    /// A real GPU that computes rightly, else the CPU.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A wgpu adapter: the one of this index, or the best.
    Wgpu(Option<usize>),
    /// An NVIDIA card through CUDA: the one of this index, or the first.
    Cuda(Option<usize>),
}

impl FromStr for DeviceRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "wgpu" => Ok(Self::Wgpu(None)),
            Some(("wgpu", index)) if index.parse::<usize>().is_ok() => Ok(Self::Wgpu(index.parse().ok())),
            None if text == "cuda" => Ok(Self::Cuda(None)),
            Some(("cuda", index)) if index.parse::<usize>().is_ok() => Ok(Self::Cuda(index.parse().ok())),
            _ => {
                let detail = format!("`{text}` is not one of auto, cpu, wgpu, wgpu:N, cuda, cuda:N");
                Err(Error::config("device", detail))
            }
        }
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Wgpu(None) => f.write_str("wgpu"),
            Self::Wgpu(Some(index)) => write!(f, "wgpu:{index}"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(index)) => write!(f, "cuda:{index}"),
        }
    }
}
