//! A launch with all that it takes.

use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;

use super::context::Function;
use crate::dispatch::CUDA_VARIANT_WORDS;

/// One launch: the entry takes one pointer a binding, then parameters, then variant.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) function: Arc<Function>,
    pub(super) grid: [u32; 3],
    pub(super) block: u32,
    pub(super) shared: u32,
    pub(super) pointers: Vec<CUdeviceptr>,
    pub(super) params: Vec<u32>,
    pub(super) variant: [u32; CUDA_VARIANT_WORDS],
}

impl Launch {
    /// Whether both do the same to the same memory.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.function, &other.function)
            && (self.grid, self.block, self.shared) == (other.grid, other.block, other.shared)
            && self.pointers == other.pointers
            && self.params == other.params
            && self.variant == other.variant
    }
}
