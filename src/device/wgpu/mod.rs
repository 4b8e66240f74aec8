//! Vulkan, Metal, DX12 and browser WebGPU through wgpu.

mod adapter;
mod experimental;
mod faults;
mod pipeline;
mod prepared;
mod profile;
mod readback;
mod source;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wgpu::BufferUsages;

use super::buffer::{Buffer, Raw};
use super::caps::Caps;
use super::pool::Pool;
use super::recording::Recording;
use crate::error::{Error, Result};
use faults::Faults;
use pipeline::Pipelines;
use prepared::Dispatches;
pub use prepared::Prepared;
pub use source::{assemble, assemble_for_browser};

/// Whose cooperative matrices a device is opened to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrices {
    /// None.
    Off,
    /// A GPU's.
    OfGpus,
    /// Those of software too, for tests: they gain nothing there, and Mesa 26.2 crashes on them with subgroups of 16.
    OfAll,
}

/// A wgpu device and its queue: opened here, or the caller's own.
#[derive(Debug)]
pub struct WgpuDevice {
    device: wgpu::Device,
    queue: wgpu::Queue,
    caps: Caps,
    pool: Pool,
    pipelines: Pipelines,
    submissions: AtomicU64,
    faults: Faults,
}

impl WgpuDevice {
    /// What is installed: all adapters, the best first.
    pub async fn list() -> Vec<Caps> {
        let describe = |a: &wgpu::Adapter| {
            adapter::caps(&a.get_info(), a.features(), &a.limits(), &adapter::offered(a, Matrices::OfGpus))
        };
        adapter::adapters().await.iter().map(describe).collect()
    }

    /// Opens the adapter of this index in [`Self::list`].
    pub async fn open(index: usize) -> Result<Self> {
        Self::open_with(index, Matrices::OfGpus).await
    }

    /// [`Self::open`] with a say in whether cooperative matrices are used.
    pub async fn open_with(index: usize, matrices: Matrices) -> Result<Self> {
        let mut adapters = adapter::adapters().await;
        if index >= adapters.len() {
            let found = adapters.len();
            return Err(Error::config(
                "device",
                format!("wgpu:{index} is not there; {found} adapter(s) found, see `bitsmith devices`"),
            ));
        }
        let adapter = adapters.swap_remove(index);
        let info = adapter.get_info();
        let matrices = adapter::offered(&adapter, matrices);
        let offered = adapter::caps(&info, adapter.features(), &adapter.limits(), &matrices);
        let mut wanted = adapter::FEATURES;
        wanted.set(adapter::MATRICES, offered.cooperative_matrix.is_some());
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("bitsmith"),
                required_features: adapter.features() & wanted,
                experimental_features: experimental::leave(wanted),
                // The adapter's own limits: the defaults end a binding at 128 MiB.
                required_limits: adapter.limits(),
                ..Default::default()
            })
            .await
            .map_err(|e| Error::Device { device: info.name.clone(), detail: format!("cannot be opened: {e}") })?;
        let faults = Faults::callbacks(&device, &info.name);
        Ok(Self::new(&info, device, queue, faults, &matrices))
    }

    /// A device over the caller's own. `info` is what its adapter says of itself.
    ///
    /// It stays the caller's. Its callbacks are left alone: what wgpu reports of the work done here comes back as an
    /// [`Error`] and not to them, all else goes to them as before; only in a browser they hear of everything. Nothing
    /// here waits for the device: a future that reads is ready once the device was polled, by the caller or, without
    /// waiting, by the future itself whenever it is polled.
    pub fn from_parts(info: &wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let faults = Faults::scopes(&device);
        Self::new(info, device, queue, faults, &[])
    }

    /// The same device with leave to use cooperative matrices: of the sizes and types that its adapter says it has
    /// (`wgpu::Adapter::cooperative_matrix_properties`), and if it was made with the feature for them. A device over the
    /// caller's own uses none without this, because a device does not tell what its adapter has.
    #[must_use]
    pub fn with_matrices(mut self, offered: &[wgpu::CooperativeMatrixProperties]) -> Self {
        let (info, features) = (self.device.adapter_info(), self.device.features());
        self.caps = adapter::caps(&info, features, &self.device.limits(), offered);
        self
    }

    fn new(
        info: &wgpu::AdapterInfo,
        device: wgpu::Device,
        queue: wgpu::Queue,
        faults: Faults,
        matrices: &[wgpu::CooperativeMatrixProperties],
    ) -> Self {
        let caps = adapter::caps(info, device.features(), &device.limits(), matrices);
        let (pool, pipelines, submissions) = (Pool::new(), Pipelines::default(), AtomicU64::new(0));
        Self { device, queue, caps, pool, pipelines, submissions, faults }
    }

    /// wgpu's own device, to share it with other work or to wait for it.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The queue that everything is submitted to.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// Pipelines created so far: each once, when it is first used.
    pub fn pipelines(&self) -> usize {
        self.pipelines.len()
    }

    pub(super) fn caps(&self) -> &Caps {
        &self.caps
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Submissions to the queue so far.
    pub(super) fn submissions(&self) -> u64 {
        self.submissions.load(Relaxed)
    }

    /// Runs `call`, which uses the device; what wgpu reports meanwhile is the error.
    fn watch<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        self.faults.watch(&self.device, &self.caps.name, call)
    }

    pub(super) fn create(&self, bytes: u64) -> Result<wgpu::Buffer> {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        self.buffer(None, bytes, usage)
    }

    /// Never mapped at creation: that panics once the device is lost.
    fn buffer(&self, label: wgpu::Label<'_>, size: u64, usage: BufferUsages) -> Result<wgpu::Buffer> {
        let descriptor = wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false };
        self.watch(|| Ok(self.device.create_buffer(&descriptor)))
    }

    pub(super) fn write(&self, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
        let (whole, rest) = bytes.split_at(bytes.len() / 4 * 4);
        self.watch(|| {
            if !whole.is_empty() {
                self.queue.write_buffer(buffer, 0, whole);
            }
            if !rest.is_empty() {
                let mut last = [0; 4];
                last[..rest.len()].copy_from_slice(rest);
                self.queue.write_buffer(buffer, whole.len() as u64, &last);
            }
            Ok(())
        })
    }

    pub(super) fn submit(&self, recording: &Recording) -> Result<()> {
        let dispatches = Dispatches::new(self, recording)?;
        self.watch(|| {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            dispatches.encode(&mut encoder);
            self.send(encoder);
            Ok(())
        })
    }

    fn send(&self, encoder: wgpu::CommandEncoder) {
        self.queue.submit([encoder.finish()]);
        self.submissions.fetch_add(1, Relaxed);
    }

    /// Appends the steps of a recording to the caller's encoder, as one compute pass.
    ///
    /// The recording must live until the caller has submitted: with it goes the memory of intermediate results. For work
    /// that is encoded again and again see [`Self::prepare`].
    ///
    /// # Errors
    /// [`Error::Device`] for a recording of another device, or when a pipeline or binding cannot be made. What goes wrong
    /// when the caller finishes or submits the encoder is reported to the caller.
    pub fn encode(&self, recording: &Recording, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let dispatches = Dispatches::new(self, recording)?;
        self.watch(|| {
            dispatches.encode(encoder);
            Ok(())
        })
    }

    /// Makes pipelines, parameters and bindings of a recording, to be encoded as often as wanted. Pipelines that the device
    /// has not used before are compiled here, which takes the driver's time on this thread; encoding them later does not.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn prepare(&self, recording: Recording) -> Result<Prepared> {
        Prepared::new(self, recording)
    }

    /// The first `bytes` of a buffer that the caller made on this device, for kernels to read and write. It stays the
    /// caller's: it is never recycled and counts for no cap. For a part of it see [`Buffer::slice`].
    ///
    /// # Errors
    /// [`Error::Config`] unless `bytes` is a multiple of 4 within the buffer and the buffer has the usage `STORAGE`.
    pub fn import(&self, buffer: wgpu::Buffer, bytes: usize) -> Result<Buffer> {
        if bytes == 0 || !bytes.is_multiple_of(4) || bytes as u64 > buffer.size() {
            let detail = format!("{bytes} bytes wanted, a multiple of 4 from 4 to {} expected", buffer.size());
            return Err(Error::config("imported buffer", detail));
        }
        if !buffer.usage().contains(BufferUsages::STORAGE) {
            let detail = format!("made for {:?}; add the usage STORAGE", buffer.usage());
            return Err(Error::config("imported buffer", detail));
        }
        Ok(self.pool.adopt(Raw::Wgpu(buffer), bytes))
    }

    /// Submits the steps of a recording, if there is one, with copies of buffers behind them, and reads the copies.
    pub(super) async fn run(&self, recording: Option<Recording>, buffers: &[&Buffer]) -> Result<Vec<Vec<u8>>> {
        let dispatches = recording.as_ref().map(|recording| Dispatches::new(self, recording)).transpose()?;
        let bytes = self.staged(buffers.iter().map(|b| b.bytes() as u64).sum(), |encoder, staging| {
            if let Some(dispatches) = &dispatches {
                dispatches.encode(encoder);
            }
            let mut end = 0;
            for buffer in buffers {
                let (raw, offset, bytes) = (buffer.raw().wgpu()?, buffer.offset as u64, buffer.bytes() as u64);
                encoder.copy_buffer_to_buffer(raw, offset, staging, end, bytes);
                end += bytes;
            }
            Ok(())
        })?;
        // Submitted: what the recording held may be used again.
        drop((dispatches, recording));
        let bytes = bytes.read(self).await?;
        let mut rest = &bytes[..];
        Ok(buffers.iter().map(|b| rest.split_off(..b.bytes()).unwrap_or_default().to_vec()).collect())
    }

    /// Submits what `encode` writes, the last of it into a buffer of `bytes` for the host.
    fn staged(
        &self,
        bytes: u64,
        encode: impl FnOnce(&mut wgpu::CommandEncoder, &wgpu::Buffer) -> Result<()>,
    ) -> Result<Staged> {
        let staging = self.buffer(Some("read back"), bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
        self.watch(|| {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encode(&mut encoder, &staging)?;
            self.send(encoder);
            let (sender, arrival) = readback::channel();
            staging.map_async(wgpu::MapMode::Read, .., |result| sender.send(result));
            Ok(Staged { staging: staging.clone(), arrival })
        })
    }

    /// Natively, callbacks come only while the device is polled; in a browser the event loop brings them.
    async fn arrived<T>(&self, mut arrival: readback::Receiver<T>) -> Result<T> {
        if cfg!(target_arch = "wasm32") {
            return Ok(arrival.await);
        }
        if let Faults::Callbacks { .. } = self.faults {
            self.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| self.failure(e.to_string()))?;
            return Ok(arrival.await);
        }
        std::future::poll_fn(|context| {
            let _ = self.device.poll(wgpu::PollType::Poll);
            let poll = Pin::new(&mut arrival).poll(context);
            if poll.is_pending() {
                // Whoever does not poll the device gets here again soon, instead of never.
                context.waker().wake_by_ref();
            }
            poll.map(Ok)
        })
        .await
    }

    fn failure(&self, detail: String) -> Error {
        let lost = self.faults.lost(&self.device);
        Error::Device {
            device: self.caps.name.clone(),
            detail: lost.map_or(detail, |why| format!("device lost: {why}")),
        }
    }
}

/// Results on their way to the host.
struct Staged {
    staging: wgpu::Buffer,
    arrival: readback::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

impl Staged {
    /// The bytes, once all submitted work is done.
    async fn read(self, device: &WgpuDevice) -> Result<wgpu::BufferView> {
        device.arrived(self.arrival).await?.map_err(|e| device.failure(format!("cannot read back: {e}")))?;
        device.watch(|| self.staging.get_mapped_range(..).map_err(|e| device.failure(e.to_string())))
    }
}
