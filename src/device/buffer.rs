//! Handles of device memory. The memory goes back to its pool with the last handle.

use std::sync::{Arc, Weak};

use super::cpu::CpuMemory;
use super::pool::FreeList;
use crate::error::{Error, Result};

/// Memory of one device.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Cpu(Arc<CpuMemory>),
    #[cfg(feature = "wgpu")]
    Wgpu(::wgpu::Buffer),
}

impl Raw {
    pub(super) fn cpu(&self) -> Result<&CpuMemory> {
        match self {
            Self::Cpu(memory) => Ok(memory),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(_) => Err(foreign()),
        }
    }

    #[cfg(feature = "wgpu")]
    pub(super) fn wgpu(&self) -> Result<&::wgpu::Buffer> {
        match self {
            Self::Wgpu(buffer) => Ok(buffer),
            Self::Cpu(_) => Err(foreign()),
        }
    }

    /// Whether both are the same memory.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cpu(a), Self::Cpu(b)) => Arc::ptr_eq(a, b),
            #[cfg(feature = "wgpu")]
            (Self::Wgpu(a), Self::Wgpu(b)) => a == b,
            #[cfg(feature = "wgpu")]
            _ => false,
        }
    }
}

/// The error for a buffer of one device handed to another.
#[cfg(feature = "wgpu")]
fn foreign() -> Error {
    Error::Device { device: "buffer".into(), detail: "it belongs to another device; upload it to this one".into() }
}

/// Memory on loan from a pool.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) raw: Raw,
    pub(super) class: u64,
    /// The recording this memory may be reused in before it returns to the device.
    pub(super) nearest: Weak<FreeList>,
    pub(super) pool: Arc<FreeList>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.nearest.upgrade() {
            Some(list) => list.put(self.class, self.raw.clone()),
            None => self.pool.put(self.class, self.raw.clone()),
        }
    }
}

/// A buffer on a device. Cheap to clone; clones are the same buffer.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(super) lease: Arc<Lease>,
    pub(super) offset: usize,
    pub(super) bytes: usize,
}

/// Slices start at multiples of this: the portable alignment of a storage binding.
const SLICE_ALIGNMENT: usize = 256;

impl Buffer {
    /// A part of the buffer that starts at byte `offset`, a multiple of 256.
    pub fn slice(&self, offset: usize, bytes: usize) -> Result<Self> {
        let bytes = bytes.checked_next_multiple_of(4).unwrap_or(usize::MAX);
        if !offset.is_multiple_of(SLICE_ALIGNMENT) || offset.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            return Err(Error::Shape {
                op: "slice",
                expected: format!(
                    "an offset that is a multiple of {SLICE_ALIGNMENT} and an end within {} bytes",
                    self.bytes
                ),
                found: format!("{bytes} bytes at {offset}"),
            });
        }
        Ok(Self { lease: self.lease.clone(), offset: self.offset + offset, bytes })
    }

    /// Size in bytes, a multiple of 4.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn raw(&self) -> &Raw {
        &self.lease.raw
    }
}
