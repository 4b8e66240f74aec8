//! Devices: a narrow interface of four verbs (allocate, upload, submit, read) that runs any kernel and
//! knows none by name.

mod buffer;
mod caps;
mod cpu;
mod cpu_words;
#[cfg(feature = "cuda")]
pub mod cuda;
mod pool;
mod profile;
mod recording;
mod request;
mod tape;
#[cfg(feature = "wgpu")]
pub mod wgpu;

use std::sync::Arc;

pub use buffer::{Buffer, BufferId};
pub use caps::{Caps, DeviceKind};
pub use cpu::{CpuDevice, CpuMemory};
pub use pool::MemoryStats;
pub use profile::StepTime;
pub use recording::{Recorder, Recording};
pub use request::DeviceRequest;
pub use tape::{Adjoint, Gradients, Sum};

use crate::error::{Error, Result};
use buffer::Raw;
use pool::Pool;

/// Something that runs kernels. Cheap to clone; clones are the same device.
#[derive(Clone, Debug)]
pub enum Device {
    /// The processor.
    Cpu(Arc<CpuDevice>),
    /// A GPU (or software adapter) through wgpu.
    #[cfg(feature = "wgpu")]
    Wgpu(Arc<wgpu::WgpuDevice>),
    /// An NVIDIA card through CUDA.
    #[cfg(feature = "cuda")]
    Cuda(Arc<cuda::CudaDevice>),
}

impl Device {
    /// The processor: threads, SIMD chosen at run time.
    ///
    /// ```
    /// let device = bitsmith::Device::cpu();
    /// let buffer = device.upload(&[1.0f32, 2.0])?;
    /// assert_eq!(pollster::block_on(device.read::<f32>(&buffer))?, [1.0, 2.0]);
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    pub fn cpu() -> Self {
        Self::Cpu(Arc::new(CpuDevice::new()))
    }

    /// What the device offers.
    pub fn caps(&self) -> &Caps {
        match self {
            Self::Cpu(cpu) => cpu.caps(),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(gpu) => gpu.caps(),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => gpu.caps(),
        }
    }

    /// A buffer of `bytes` (rounded up to whole words) with arbitrary contents.
    pub fn alloc(&self, bytes: usize) -> Result<Buffer> {
        self.pool().take(bytes, None, &|class| self.create(class))
    }

    /// A buffer that holds `data`, padded with zeros to whole words.
    pub fn upload<T: bytemuck::NoUninit>(&self, data: &[T]) -> Result<Buffer> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let buffer = self.alloc(bytes.len())?;
        self.write(&buffer, bytes)?;
        Ok(buffer)
    }

    /// Runs a recording. Work on a GPU may still be under way when this returns.
    pub fn submit(&self, recording: Recording) -> Result<()> {
        recording.check_device(self.pool(), self.caps())?;
        match self {
            Self::Cpu(cpu) => cpu.submit(&recording),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(gpu) => gpu.submit(&recording),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => gpu.submit(&recording),
        }
    }

    /// The contents of a buffer, once all submitted work is done.
    pub async fn read<T: bytemuck::Pod>(&self, buffer: &Buffer) -> Result<Vec<T>> {
        let mut read = self.read_all(&[buffer]).await?;
        Ok(bytemuck::pod_collect_to_vec(&read.remove(0)))
    }

    /// The bytes of several buffers, in one wait.
    pub async fn read_all(&self, buffers: &[&Buffer]) -> Result<Vec<Vec<u8>>> {
        self.run(None, buffers).await
    }

    /// Runs a recording, if there is one, and reads buffers: one submission, one wait.
    async fn run(&self, recording: Option<Recording>, buffers: &[&Buffer]) -> Result<Vec<Vec<u8>>> {
        buffers.iter().try_for_each(|b| self.pool().check_own(&b.lease.pool, &self.caps().name))?;
        if buffers.is_empty() {
            recording.map(|recording| self.submit(recording)).transpose()?;
            return Ok(Vec::new());
        }
        match self {
            Self::Cpu(_) => {
                recording.map(|recording| self.submit(recording)).transpose()?;
                buffers.iter().map(|b| b.raw().cpu().map(|memory| memory.bytes(b.offset, b.bytes()))).collect()
            }
            #[cfg(feature = "wgpu")]
            Self::Wgpu(gpu) => gpu.run(recording, buffers).await,
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => gpu.run(recording.as_ref(), buffers),
        }
    }

    /// Runs a recording and reads buffers once it is done: on a GPU both are one submission.
    ///
    /// # Errors
    /// Those of [`Self::submit`] and [`Self::read_all`].
    pub async fn submit_and_read(&self, recording: Recording, buffers: &[&Buffer]) -> Result<Vec<Vec<u8>>> {
        self.run(Some(recording), buffers).await
    }

    /// Runs a recording to its end and tells what each dispatch took, in order; nothing where the device has no clock
    /// for it, which is a GPU without timestamp queries. The clock costs time of its own, between the dispatches.
    ///
    /// ```
    /// use bitsmith::{Device, Recorder, op::{self, Activations}};
    /// let device = Device::cpu();
    /// let x = Activations::upload(&device, 1, 4, &[1.0; 4])?;
    /// let mut recorder = Recorder::new(&device);
    /// op::add(&mut recorder, &x, &x)?;
    /// let times = pollster::block_on(device.profile(recorder.finish()))?.unwrap();
    /// assert!(times.len() == 1 && times[0].seconds >= 0.0);
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Self::submit`].
    pub async fn profile(&self, recording: Recording) -> Result<Option<Vec<StepTime>>> {
        recording.check_device(self.pool(), self.caps())?;
        match self {
            Self::Cpu(cpu) => cpu.profile(&recording).map(Some),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(gpu) => gpu.profile(&recording).await,
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => gpu.profile(&recording).map(Some),
        }
    }

    /// Submissions so far: recordings, and on a GPU copies to read a buffer. Work that a caller submits is not counted.
    pub fn submissions(&self) -> u64 {
        match self {
            Self::Cpu(cpu) => cpu.submissions(),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(gpu) => gpu.submissions(),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => gpu.submissions(),
        }
    }

    /// Compute pipelines created so far, each at the first use of a kernel in a variant; the CPU needs none.
    pub fn pipelines(&self) -> usize {
        match self {
            Self::Cpu(_) => 0,
            #[cfg(feature = "wgpu")]
            Self::Wgpu(gpu) => gpu.pipelines(),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => gpu.pipelines(),
        }
    }

    /// Buffer memory: now, at its peak, and the cap.
    pub fn memory(&self) -> MemoryStats {
        self.pool().stats()
    }

    /// Refuses buffers that would take more than `bytes` in all.
    pub fn set_memory_cap(&self, bytes: u64) {
        self.pool().set_cap(bytes);
    }

    /// Takes so much memory and gives it back, to learn before long work whether there is as much. A system that promises
    /// more memory than it has refuses what is more than all of it.
    ///
    /// ```
    /// use bitsmith::Device;
    /// assert!(Device::cpu().reserve(1 << 20).is_ok());
    /// assert!(Device::cpu().reserve(1 << 60).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Limit`] if it is over the cap, [`Error::Device`] if the device refuses it.
    pub fn reserve(&self, bytes: u64) -> Result<()> {
        self.pool().check_room(bytes)?;
        let piece = match self {
            Self::Cpu(_) => bytes.max(4),
            // As large as buffers of a GPU commonly are.
            #[cfg(feature = "wgpu")]
            Self::Wgpu(_) => self.caps().max_buffer_bytes.min(1 << 30),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => self.caps().max_buffer_bytes.min(1 << 30),
        };
        let pieces = (0..bytes.div_ceil(piece)).map(|_| self.create(piece));
        pieces.collect::<Result<Vec<_>>>().map(drop)
    }

    fn pool(&self) -> &Pool {
        match self {
            Self::Cpu(cpu) => cpu.pool(),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(gpu) => gpu.pool(),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => gpu.pool(),
        }
    }

    fn create(&self, bytes: u64) -> Result<Raw> {
        let limit = self.caps().max_buffer_bytes;
        if bytes > limit {
            return Err(Error::Limit {
                what: format!("one buffer on {}", self.caps().name),
                wanted: bytes,
                allowed: limit,
            });
        }
        match self {
            Self::Cpu(_) => match CpuMemory::zeroed(bytes) {
                Some(memory) => Ok(Raw::Cpu(Arc::new(memory))),
                None => Err(Error::Device {
                    device: self.caps().name.clone(),
                    detail: format!("out of memory: the system refuses {bytes} bytes; lower --window or --max-tokens"),
                }),
            },
            #[cfg(feature = "wgpu")]
            Self::Wgpu(gpu) => gpu.create(bytes).map(Raw::Wgpu),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => gpu.create(bytes).map(|memory| Raw::Cuda(Arc::new(memory))),
        }
    }

    fn write(&self, buffer: &Buffer, bytes: &[u8]) -> Result<()> {
        match (self, buffer.raw()) {
            (Self::Cpu(_), raw) => {
                raw.cpu()?.fill(bytes);
                Ok(())
            }
            #[cfg(feature = "wgpu")]
            (Self::Wgpu(gpu), raw) => gpu.write(raw.wgpu()?, bytes),
            #[cfg(feature = "cuda")]
            (Self::Cuda(gpu), raw) => gpu.write(raw.cuda()?, bytes),
        }
    }
}
