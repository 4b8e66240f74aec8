//! Handles of device memory. The memory goes back to its pool with the last handle.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
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
    #[cfg(feature = "cuda")]
    Cuda(Arc<super::cuda::CudaMemory>),
}

impl Raw {
    pub(super) fn cpu(&self) -> Result<&CpuMemory> {
        match self {
            Self::Cpu(memory) => Ok(memory),
            #[cfg(any(feature = "wgpu", feature = "cuda"))]
            _ => Err(foreign()),
        }
    }

    #[cfg(feature = "wgpu")]
    pub(super) fn wgpu(&self) -> Result<&::wgpu::Buffer> {
        match self {
            Self::Wgpu(buffer) => Ok(buffer),
            _ => Err(foreign()),
        }
    }

    #[cfg(feature = "cuda")]
    pub(super) fn cuda(&self) -> Result<&super::cuda::CudaMemory> {
        match self {
            Self::Cuda(memory) => Ok(memory),
            _ => Err(foreign()),
        }
    }

    /// Whether both are the same memory.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cpu(a), Self::Cpu(b)) => Arc::ptr_eq(a, b),
            #[cfg(feature = "wgpu")]
            (Self::Wgpu(a), Self::Wgpu(b)) => a == b,
            #[cfg(feature = "cuda")]
            (Self::Cuda(a), Self::Cuda(b)) => Arc::ptr_eq(a, b),
            #[cfg(any(feature = "wgpu", feature = "cuda"))]
            _ => false,
        }
    }
}

/// The error for a buffer of one device handed to another.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn foreign() -> Error {
    Error::Device { device: "buffer".into(), detail: "it belongs to another device; upload it to this one".into() }
}

/// Memory on loan from a pool.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) raw: Raw,
    /// Size class; none for the caller's own memory, which is never reused.
    pub(super) class: Option<u64>,
    /// How much memory its pool had created before.
    pub(super) age: u64,
    /// The recording this memory may be reused in before it returns to the device.
    pub(super) nearest: Weak<FreeList>,
    pub(super) pool: Arc<FreeList>,
    /// Which loan this is: the same memory lent again is another one.
    pub(super) number: u64,
}

impl Lease {
    /// A number that no other loan has.
    pub(super) fn next_number() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Relaxed)
    }
}

/// Which buffer it is: the same for all clones of a handle, another one for each allocation and each slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId {
    lease: u64,
    offset: usize,
    bytes: usize,
}

impl From<&Buffer> for BufferId {
    fn from(buffer: &Buffer) -> Self {
        buffer.id()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(class) = self.class else { return };
        match self.nearest.upgrade() {
            Some(list) => list.put(class, self.age, self.raw.clone()),
            None => self.pool.put(class, self.age, self.raw.clone()),
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

    /// Which buffer it is.
    pub fn id(&self) -> BufferId {
        BufferId { lease: self.lease.number, offset: self.offset, bytes: self.bytes }
    }

    pub(super) fn raw(&self) -> &Raw {
        &self.lease.raw
    }
}
