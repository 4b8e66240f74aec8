//! A recording made ready for the GPU: pipelines and bindings, kept for as many runs as wanted.

use std::ops::Range;

use wgpu::BufferUsages;

use super::WgpuDevice;
use crate::device::recording::{Recording, Step};
use crate::error::Result;

/// A recording whose pipelines, parameters and bindings are made: encoding it again, say each frame, costs little.
///
/// Made by [`WgpuDevice::prepare`]. Holds the memory that its steps use.
#[derive(Debug)]
pub struct Prepared {
    dispatches: Dispatches,
    /// Keeps intermediate results from being reused by others between two runs.
    _recording: Recording,
}

impl Prepared {
    /// Appends the steps to the caller's encoder, as one compute pass. Nothing runs, and nothing is waited for, until the
    /// caller submits.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        self.dispatches.encode(encoder);
    }

    pub(super) fn new(device: &WgpuDevice, recording: Recording) -> Result<Self> {
        Ok(Self { dispatches: Dispatches::new(device, &recording)?, _recording: recording })
    }
}

/// The steps of a recording as wgpu takes them.
#[derive(Debug)]
pub(super) struct Dispatches(Vec<Dispatch>);

#[derive(Debug)]
struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    grid: [u32; 3],
}

impl Dispatches {
    pub(super) fn new(device: &WgpuDevice, recording: &Recording) -> Result<Self> {
        recording.check_device(&device.pool, &device.caps)?;
        if recording.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let (uniforms, offsets) = uniforms(device, recording)?;
        let steps = recording.steps().zip(offsets);
        device.watch(|| steps.map(|(step, offset)| dispatch(device, step, &uniforms, offset)).collect()).map(Self)
    }

    pub(super) fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        if self.0.is_empty() {
            return;
        }
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.0.iter().for_each(|dispatch| dispatch.encode(&mut pass));
    }

    /// Each dispatch of a range in a pass of its own, with a timestamp at its start and one at its end.
    pub(super) fn encode_timed(
        &self,
        range: Range<usize>,
        queries: &wgpu::QuerySet,
        encoder: &mut wgpu::CommandEncoder,
    ) {
        for (dispatch, query) in self.0[range].iter().zip((0..).step_by(2)) {
            let stamps = wgpu::ComputePassTimestampWrites {
                query_set: queries,
                beginning_of_pass_write_index: Some(query),
                end_of_pass_write_index: Some(query + 1),
            };
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(stamps) };
            dispatch.encode(&mut encoder.begin_compute_pass(&descriptor));
        }
    }
}

impl Dispatch {
    fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y, z] = self.grid;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

fn dispatch(device: &WgpuDevice, step: Step<'_>, uniforms: &wgpu::Buffer, offset: u64) -> Result<Dispatch> {
    let pipeline = device.pipelines.get(device, step.spec, step.variant)?;
    let mut entries = Vec::with_capacity(step.buffers.len() + 1);
    for (bound, binding) in step.buffers.iter().zip(0..) {
        let size = wgpu::BufferSize::new(bound.bytes as u64);
        let range = wgpu::BufferBinding { buffer: bound.raw().wgpu()?, offset: bound.offset as u64, size };
        entries.push(wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(range) });
    }
    let size = wgpu::BufferSize::new(step.params.len() as u64);
    let range = wgpu::BufferBinding { buffer: uniforms, offset, size };
    let binding = entries.len().try_into().unwrap_or(u32::MAX);
    entries.push(wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(range) });
    let bindings = device.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(step.spec.name),
        layout: &pipeline.bindings,
        entries: &entries,
    });
    Ok(Dispatch { pipeline: pipeline.compute, bindings, grid: step.grid })
}

/// The parameters of all steps in one uniform buffer, and where each step's start.
fn uniforms(device: &WgpuDevice, recording: &Recording) -> Result<(wgpu::Buffer, Vec<u64>)> {
    let alignment = device.device.limits().min_uniform_buffer_offset_alignment as usize;
    let (mut contents, mut offsets) = (Vec::new(), Vec::with_capacity(recording.len()));
    for step in recording.steps() {
        contents.resize(contents.len().next_multiple_of(alignment), 0);
        offsets.push(contents.len() as u64);
        contents.extend_from_slice(step.params);
    }
    let size = contents.len().next_multiple_of(4) as u64;
    let uniforms = device.buffer(Some("parameters"), size, BufferUsages::UNIFORM | BufferUsages::COPY_DST)?;
    device.write(&uniforms, &contents)?;
    Ok((uniforms, offsets))
}
