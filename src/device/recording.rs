//! Work as data: the steps that a device is to run, in order.

use std::sync::Arc;

use super::Device;
use super::buffer::{Buffer, Lease, Raw};
use super::caps::Caps;
use super::pool::{FreeList, Pool};
use super::tape::Tape;
use crate::dispatch::{Access, Kernel, KernelSpec, MAX_GROUPS, Variant};
use crate::error::{Error, Result};

/// A buffer as one step binds it.
#[derive(Debug)]
pub(super) struct Bound {
    memory: Memory,
    pub(super) offset: usize,
    pub(super) bytes: usize,
}

/// What keeps the memory of a binding.
#[derive(Debug)]
enum Memory {
    /// Memory of the recording itself, which later steps may reuse.
    Own(Raw),
    /// A buffer from outside, kept from reuse until the steps are submitted.
    Held(Arc<Lease>),
}

impl Bound {
    pub(super) fn raw(&self) -> &Raw {
        match &self.memory {
            Memory::Own(raw) => raw,
            Memory::Held(lease) => &lease.raw,
        }
    }
}

/// One dispatch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    pub(super) spec: &'static KernelSpec,
    pub(super) variant: &'a Variant,
    pub(super) params: &'a [u8],
    #[cfg_attr(
        not(any(feature = "wgpu", feature = "cuda")),
        allow(dead_code, reason = "the CPU loops over the parameters")
    )]
    pub(super) grid: [u32; 3],
    pub(super) buffers: &'a [Bound],
}

/// One dispatch as it is kept: where its parameters and buffers end in the lists of all steps.
#[derive(Debug)]
struct Kept {
    spec: &'static KernelSpec,
    variant: Variant,
    grid: [u32; 3],
    params_end: usize,
    buffers_end: usize,
}

/// A finished list of steps for [`Device::submit`].
#[derive(Debug)]
pub struct Recording {
    steps: Vec<Kept>,
    /// Parameters of all steps, one after the other: a list for each would take as long as a small kernel.
    params: Vec<u8>,
    /// Buffers of all steps, one after the other.
    buffers: Vec<Bound>,
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

    /// The steps in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let (mut params, mut buffers) = (0, 0);
        self.steps.iter().map(move |kept| {
            let step = Step {
                spec: kept.spec,
                variant: &kept.variant,
                params: &self.params[params..kept.params_end],
                grid: kept.grid,
                buffers: &self.buffers[buffers..kept.buffers_end],
            };
            (params, buffers) = (kept.params_end, kept.buffers_end);
            step
        })
    }

    /// An error unless it was recorded for the device of this pool.
    pub(super) fn check_device(&self, pool: &Pool, caps: &Caps) -> Result<()> {
        pool.check_own(self.device.pool().free(), &caps.name)
    }

    /// Kernel and variant of each dispatch, in order.
    pub fn dispatches(&self) -> impl Iterator<Item = (&'static str, &Variant)> {
        self.steps.iter().map(|s| (s.spec.name, &s.variant))
    }

    /// The kernels in order.
    pub fn kernels(&self) -> impl Iterator<Item = &'static str> {
        self.steps.iter().map(|s| s.spec.name)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.buffers.clear();
        self.spare.move_to(self.device.pool().free());
    }
}

/// Steps that a token of a small model takes, and what each has about: room for them is there from the start, since a
/// list that grows copies itself again and again.
const STEPS: usize = 128;
const PARAMS: usize = 32;
const BUFFERS: usize = 4;

/// Appends steps to a recording. Buffers it allocates are reused within the recording as soon as their last
/// handle is dropped: steps run in order, so a later step may overwrite what an earlier one has read.
#[derive(Debug)]
pub struct Recorder {
    recording: Recording,
    pub(super) tape: Tape,
}

impl Recorder {
    /// An empty recording for a device.
    pub fn new(device: &Device) -> Self {
        Self {
            recording: Recording {
                steps: Vec::with_capacity(STEPS),
                params: Vec::with_capacity(STEPS * PARAMS),
                buffers: Vec::with_capacity(STEPS * BUFFERS),
                spare: Arc::default(),
                device: device.clone(),
            },
            tape: Tape::default(),
        }
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
        let recording = &mut self.recording;
        for buffer in buffers {
            // While the lease is there, no other list can be at this address.
            let own = std::ptr::eq(buffer.lease.nearest.as_ptr(), Arc::as_ptr(&recording.spare));
            let memory = if own { Memory::Own(buffer.raw().clone()) } else { Memory::Held(buffer.lease.clone()) };
            recording.buffers.push(Bound { memory, offset: buffer.offset, bytes: buffer.bytes() });
        }
        recording.params.extend_from_slice(params);
        let (params_end, buffers_end) = (recording.params.len(), recording.buffers.len());
        recording.steps.push(Kept { spec, variant, grid, params_end, buffers_end });
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
