//! Vulkan, Metal, DX12 and browser WebGPU through wgpu.

mod adapter;
mod pipeline;
mod readback;
mod source;

use std::sync::{Arc, Mutex, PoisonError};

use wgpu::BufferUsages;

use super::buffer::Buffer;
use super::caps::Caps;
use super::pool::Pool;
use super::recording::{Recording, Step};
use crate::error::{Error, Result};
use pipeline::Pipelines;
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
        Self { device, queue, caps, pool: Pool::new(), pipelines: Pipelines::default(), fault, lost }
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
        self.queue.submit([encoder.finish()]);
        self.check()
    }

    /// Appends the steps of a recording to the caller's encoder, as one compute pass.
    pub fn encode(&self, recording: &Recording, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        recording.check_device(&self.pool, &self.caps)?;
        if recording.steps.is_empty() {
            return Ok(());
        }
        let (uniforms, offsets) = self.uniforms(&recording.steps)?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (step, offset) in recording.steps.iter().zip(offsets) {
            let pipeline = self.pipelines.get(&self.device, step.spec, &step.variant);
            self.check()?;
            let mut entries = Vec::with_capacity(step.buffers.len() + 1);
            for (bound, binding) in step.buffers.iter().zip(0..) {
                let size = wgpu::BufferSize::new(bound.bytes as u64);
                let range = wgpu::BufferBinding { buffer: bound.raw.wgpu()?, offset: bound.offset as u64, size };
                entries.push(wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(range) });
            }
            let size = wgpu::BufferSize::new(step.params.len() as u64);
            let range = wgpu::BufferBinding { buffer: &uniforms, offset, size };
            let binding = entries.len().try_into().unwrap_or(u32::MAX);
            entries.push(wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(range) });
            let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(step.spec.name),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            });
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(step.grid[0], step.grid[1], step.grid[2]);
        }
        drop(pass);
        self.check()
    }

    /// The parameters of all steps in one uniform buffer, and where each step's start.
    fn uniforms(&self, steps: &[Step]) -> Result<(wgpu::Buffer, Vec<u64>)> {
        let alignment = self.device.limits().min_uniform_buffer_offset_alignment as usize;
        let (mut contents, mut offsets) = (Vec::new(), Vec::with_capacity(steps.len()));
        for step in steps {
            contents.resize(contents.len().next_multiple_of(alignment), 0);
            offsets.push(contents.len() as u64);
            contents.extend_from_slice(&step.params);
        }
        // Not mapped at creation: that panics once the device is lost.
        let uniforms = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: contents.len().next_multiple_of(4) as u64,
            usage: BufferUsages::UNIFORM | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.write(&uniforms, &contents)?;
        Ok((uniforms, offsets))
    }

    pub(super) async fn read_all(&self, buffers: &[&Buffer]) -> Result<Vec<Vec<u8>>> {
        let total = buffers.iter().map(|b| b.bytes() as u64).sum();
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: total,
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.check()?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
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
        self.queue.submit([encoder.finish()]);
        let (sender, receiver) = readback::channel();
        staging.map_async(wgpu::MapMode::Read, .., |result| sender.send(result));
        self.wait()?;
        receiver.await.map_err(|e| self.failure(format!("cannot read back: {e}")))?;
        let bytes = staging.get_mapped_range(..).map_err(|e| self.failure(format!("cannot read back: {e}")))?;
        self.check()?;
        let mut rest = &bytes[..];
        Ok(buffers.iter().map(|b| rest.split_off(..b.bytes()).unwrap_or_default().to_vec()).collect())
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
