//! Vulkan, Metal, DX12 and browser WebGPU through wgpu.

mod adapter;
mod pipeline;
mod prepared;
mod profile;
mod readback;
mod source;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use wgpu::BufferUsages;

use super::buffer::{Buffer, Raw};
use super::caps::Caps;
use super::pool::Pool;
use super::recording::Recording;
use crate::error::{Error, Result};
use pipeline::Pipelines;
use prepared::Dispatches;
pub use prepared::Prepared;
pub use source::{assemble, assemble_for_browser};

/// The first fault that wgpu reported and nobody has taken yet.
type Fault = Arc<Mutex<Option<Error>>>;

/// A wgpu device and its queue: opened here, or the caller's own.
#[derive(Debug)]
pub struct WgpuDevice {
    device: wgpu::Device,
    queue: wgpu::Queue,
    caps: Caps,
    pool: Pool,
    pipelines: Pipelines,
    submissions: AtomicU64,
    fault: Fault,
    /// Set once and for all when the device is gone; later calls may otherwise raise nothing.
    lost: Arc<Mutex<Option<String>>>,
}

impl WgpuDevice {
    /// What is installed: all adapters, the best first.
    pub async fn list() -> Vec<Caps> {
        let describe = |a: &wgpu::Adapter| adapter::caps(&a.get_info(), a.features(), &a.limits());
        adapter::adapters().await.iter().map(describe).collect()
    }

    /// Opens the adapter of this index in [`Self::list`].
    pub async fn open(index: usize) -> Result<Self> {
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
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("bitsmith"),
                required_features: adapter.features() & adapter::FEATURES,
                // The adapter's own limits: the defaults end a binding at 128 MiB.
                required_limits: adapter.limits(),
                ..Default::default()
            })
            .await
            .map_err(|e| Error::Device { device: info.name.clone(), detail: format!("cannot be opened: {e}") })?;
        Ok(Self::from_parts(&info, device, queue))
    }

    /// A device over the caller's own. `info` is what its adapter says of itself.
    ///
    /// Takes over the device's uncaptured-error and device-lost callbacks.
    pub fn from_parts(info: &wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let caps = adapter::caps(info, device.features(), &device.limits());
        let (fault, lost) = (Fault::default(), Arc::new(Mutex::new(None)));
        let (slot, name) = (fault.clone(), caps.name.clone());
        device.on_uncaptured_error(Arc::new(move |error| {
            let detail = match error {
                wgpu::Error::OutOfMemory { .. } => "out of memory; lower --window or take a smaller model".to_owned(),
                other => other.to_string(),
            };
            let error = Error::Device { device: name.clone(), detail };
            slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }));
        let slot = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{reason:?}: {message}"));
        });
        Self {
            device,
            queue,
            caps,
            pool: Pool::new(),
            pipelines: Pipelines::default(),
            submissions: AtomicU64::new(0),
            fault,
            lost,
        }
    }

    /// wgpu's own device, to share it with other work or to wait for it.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The queue that everything is submitted to.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// Pipelines created so far.
    pub fn pipelines(&self) -> usize {
        self.pipelines.len()
    }

    pub(super) fn submissions(&self) -> u64 {
        self.submissions.load(Relaxed)
    }

    pub(super) fn caps(&self) -> &Caps {
        &self.caps
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn create(&self, bytes: u64) -> Result<wgpu::Buffer> {
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.check()?;
        Ok(buffer)
    }

    pub(super) fn write(&self, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
        let (whole, rest) = bytes.split_at(bytes.len() / 4 * 4);
        if !whole.is_empty() {
            self.queue.write_buffer(buffer, 0, whole);
        }
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            self.queue.write_buffer(buffer, whole.len() as u64, &last);
        }
        self.check()
    }

    pub(super) fn submit(&self, recording: &Recording) -> Result<()> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.encode(recording, &mut encoder)?;
        self.finish(encoder);
        self.check()
    }

    fn finish(&self, encoder: wgpu::CommandEncoder) {
        self.submissions.fetch_add(1, Relaxed);
        self.queue.submit([encoder.finish()]);
    }

    /// Appends the steps of a recording to the caller's encoder, as one compute pass.
    ///
    /// The recording must live until the caller has submitted: with it goes the memory of intermediate results. For work
    /// that is encoded again and again see [`Self::prepare`].
    ///
    /// # Errors
    /// [`Error::Device`] for a recording of another device, or when a pipeline or binding cannot be made.
    pub fn encode(&self, recording: &Recording, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        Dispatches::new(self, recording)?.encode(encoder);
        self.check()
    }

    /// Makes pipelines, parameters and bindings of a recording, to be encoded as often as wanted.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn prepare(&self, recording: Recording) -> Result<Prepared> {
        Prepared::new(self, recording)
    }

    /// The first `bytes` of a buffer that the caller made on this device, for kernels to read and write. It stays the
    /// caller's: it is never recycled and counts for no cap.
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

    /// The bytes of buffers after the steps of a recording, if there is one, in the same submission.
    pub(super) async fn read_all(&self, after: Option<&Recording>, buffers: &[&Buffer]) -> Result<Vec<Vec<u8>>> {
        let staging = self.staging(buffers.iter().map(|b| b.bytes() as u64).sum())?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        if let Some(recording) = after {
            self.encode(recording, &mut encoder)?;
        }
        let mut offset = 0;
        for buffer in buffers {
            encoder.copy_buffer_to_buffer(
                buffer.raw().wgpu()?,
                buffer.offset as u64,
                &staging,
                offset,
                buffer.bytes() as u64,
            );
            offset += buffer.bytes() as u64;
        }
        self.finish(encoder);
        let bytes = self.mapped(&staging).await?;
        let mut rest = &bytes[..];
        Ok(buffers.iter().map(|b| rest.split_off(..b.bytes()).unwrap_or_default().to_vec()).collect())
    }

    /// A buffer for results on their way to the host.
    fn staging(&self, bytes: u64) -> Result<wgpu::Buffer> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: bytes,
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.check()?;
        Ok(staging)
    }

    /// The contents of a staging buffer once all submitted work is done.
    async fn mapped(&self, staging: &wgpu::Buffer) -> Result<wgpu::BufferView> {
        let (sender, receiver) = readback::channel();
        staging.map_async(wgpu::MapMode::Read, .., |result| sender.send(result));
        self.wait()?;
        receiver.await.map_err(|e| self.failure(format!("cannot read back: {e}")))?;
        let bytes = staging.get_mapped_range(..).map_err(|e| self.failure(format!("cannot read back: {e}")))?;
        self.check()?;
        Ok(bytes)
    }

    /// Natively, callbacks come only while the device is polled; in a browser the event loop brings them.
    fn wait(&self) -> Result<()> {
        #[cfg(not(target_arch = "wasm32"))]
        self.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| self.failure(e.to_string()))?;
        Ok(())
    }

    fn failure(&self, detail: String) -> Error {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Error::Device {
            device: self.caps.name.clone(),
            detail: lost.map_or(detail, |why| format!("device lost: {why}")),
        }
    }

    /// The fault raised since the last check, or the loss of the device.
    fn check(&self) -> Result<()> {
        // wgpu tells of a loss only while it is polled, and ignores calls in silence until then. Does not wait; a poll
        // that fails comes with a loss, found below.
        #[cfg(not(target_arch = "wasm32"))]
        let _ = self.device.poll(wgpu::PollType::Poll);
        // A loss first: the faults that come with it only say that things are invalid.
        if self.lost.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Err(self.failure(String::new()));
        }
        if let Some(fault) = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(fault);
        }
        Ok(())
    }
}
