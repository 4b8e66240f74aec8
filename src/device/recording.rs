//! Work as data: the steps that a device is to run, in order.

use std::sync::Arc;

use super::Device;
use super::buffer::{Buffer, Raw};
use super::caps::Caps;
use super::pool::{FreeList, Pool};
use crate::dispatch::{Access, Kernel, KernelSpec, MAX_GROUPS, Variant};
use crate::error::{Error, Result};

/// A buffer as one step binds it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) raw: Raw,
    pub(super) offset: usize,
    pub(super) bytes: usize,
}

/// One dispatch.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) spec: &'static KernelSpec,
    pub(super) variant: Variant,
    pub(super) params: Vec<u8>,
    #[cfg_attr(not(feature = "wgpu"), allow(dead_code, reason = "the CPU loops over the parameters"))]
    pub(super) grid: [u32; 3],
    pub(super) buffers: Vec<Bound>,
}

/// A finished list of steps for [`Device::submit`].
#[derive(Debug)]
pub struct Recording {
    pub(super) steps: Vec<Step>,
    /// Buffers from outside, kept from reuse until the steps are submitted.
    held: Vec<Buffer>,
    /// Memory of dropped intermediate results.
    spare: Arc<FreeList>,
    device: Device,
}

impl Recording {
    /// Number of dispatches.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// An error unless it was recorded for the device of this pool.
    pub(super) fn check_device(&self, pool: &Pool, caps: &Caps) -> Result<()> {
        pool.check_own(self.device.pool().free(), &caps.name)
    }

    /// The kernels in order.
    pub fn kernels(&self) -> impl Iterator<Item = &'static str> {
        self.steps.iter().map(|s| s.spec.name)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.held.clear();
        self.spare.move_to(self.device.pool().free());
    }
}

/// Appends steps to a recording. Buffers it allocates are reused within the recording as soon as their last
/// handle is dropped: steps run in order, so a later step may overwrite what an earlier one has read.
#[derive(Debug)]
pub struct Recorder {
    recording: Recording,
}

impl Recorder {
    /// An empty recording for a device.
    pub fn new(device: &Device) -> Self {
        let recording =
            Recording { steps: Vec::new(), held: Vec::new(), spare: Arc::default(), device: device.clone() };
        Self { recording }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.recording.device
    }

    /// A buffer of `bytes` for an intermediate or final result.
    pub fn alloc(&self, bytes: usize) -> Result<Buffer> {
        let device = self.device();
        device.pool().take(bytes, Some(&self.recording.spare), &|class| device.create(class))
    }

    /// Appends one dispatch. A buffer bound for writing must not be bound twice.
    ///
    /// # Errors
    /// [`Error::Device`] for a buffer of another device, [`Error::Shape`] for buffers that do not fit the contract,
    /// [`Error::Limit`] and [`Error::Unsupported`] for what the device cannot bind or run.
    pub fn dispatch<K: Kernel>(&mut self, params: &K::Params, variant: Variant, buffers: &[&Buffer]) -> Result<()> {
        let grid = K::grid(params, &variant);
        self.push(K::SPEC, variant, bytemuck::bytes_of(params), grid, buffers)
    }

    /// [`Self::dispatch`] for a kernel held as a value.
    pub fn dispatch_spec(
        &mut self,
        spec: &'static KernelSpec,
        variant: Variant,
        params: &[u8],
        buffers: &[&Buffer],
    ) -> Result<()> {
        let grid = (spec.grid)(params, &variant);
        self.push(spec, variant, params, grid, buffers)
    }

    fn push(
        &mut self,
        spec: &'static KernelSpec,
        variant: Variant,
        params: &[u8],
        grid: [u32; 3],
        buffers: &[&Buffer],
    ) -> Result<()> {
        self.check(spec, &variant, grid, buffers)?;
        for buffer in buffers {
            let ours = buffer.lease.nearest.upgrade().is_some_and(|list| Arc::ptr_eq(&list, &self.recording.spare));
            if !ours {
                self.recording.held.push((*buffer).clone());
            }
        }
        let buffers =
            buffers.iter().map(|b| Bound { raw: b.raw().clone(), offset: b.offset, bytes: b.bytes() }).collect();
        self.recording.steps.push(Step { spec, variant, params: params.to_vec(), grid, buffers });
        Ok(())
    }

    fn check(&self, spec: &KernelSpec, variant: &Variant, grid: [u32; 3], buffers: &[&Buffer]) -> Result<()> {
        let caps = self.device().caps();
        let pool = self.device().pool();
        buffers.iter().try_for_each(|b| pool.check_own(&b.lease.pool, &caps.name))?;
        if buffers.len() != spec.access.len() {
            return Err(Error::Shape {
                op: spec.name,
                expected: format!("{} buffers", spec.access.len()),
                found: buffers.len().to_string(),
            });
        }
        if let Some(buffer) = buffers.iter().find(|b| b.bytes() as u64 > caps.max_binding_bytes) {
            return Err(Error::Limit {
                what: format!("one binding of {} on {}", spec.name, caps.name),
                wanted: buffer.bytes() as u64,
                allowed: caps.max_binding_bytes,
            });
        }
        if !caps.meet(variant.needs()) || grid.iter().any(|n| *n > MAX_GROUPS) {
            return Err(Error::Unsupported {
                what: format!("{} {variant} over {grid:?} workgroups on {}", spec.name, caps.name),
                remedy: "choose a portable variant, or split the work".into(),
            });
        }
        for (i, (buffer, access)) in buffers.iter().zip(spec.access).enumerate() {
            let shared = buffers.iter().enumerate().any(|(j, other)| i != j && other.raw().is(buffer.raw()));
            if *access != Access::Read && shared {
                return Err(Error::Shape {
                    op: spec.name,
                    expected: "a written buffer bound once".into(),
                    found: format!("binding {i} bound again"),
                });
            }
        }
        Ok(())
    }

    /// The steps, ready to submit.
    pub fn finish(self) -> Recording {
        self.recording
    }

    /// Submits the steps to the device.
    pub fn submit(self) -> Result<()> {
        let device = self.device().clone();
        device.submit(self.recording)
    }

    /// Submits the steps and reads a buffer once they are done: on a GPU both are one submission.
    pub async fn submit_and_read<T: bytemuck::Pod>(self, buffer: &Buffer) -> Result<Vec<T>> {
        let device = self.device().clone();
        let mut read = device.submit_and_read(self.recording, &[buffer]).await?;
        Ok(bytemuck::pod_collect_to_vec(&read.remove(0)))
    }
}
