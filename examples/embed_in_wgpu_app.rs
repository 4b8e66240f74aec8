//! A quantized layer inside an app that has a wgpu device, buffers and a frame loop of its own.
//!
//! Each frame the app records a pass of its own, which makes an input, then the layer, then a copy of the result, all
//! into one encoder; it submits once, and reads results as they arrive without waiting for any.
//!
//! `cargo run --example embed_in_wgpu_app`

use std::error::Error;
use std::sync::{Arc, mpsc};

use bitsmith::device::wgpu::WgpuDevice;
use bitsmith::op::{self, Activations, GroupWeight};
use bitsmith::{Device, PackedTensor, Random, Recorder, Scheme, Tensor, quant};
use wgpu::BufferUsages;

/// Output and input features of the layer.
const ROWS: usize = 96;
const COLS: usize = 256;
const BYTES: [u64; 2] = [4 * ROWS as u64, 4 * COLS as u64];

/// The app's own work: an input that changes with the frame.
const PATTERN: &str = "
    @group(0) @binding(0) var<storage, read_write> input: array<f32>;
    @group(0) @binding(1) var<uniform> frame: vec4<u32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3<u32>) {
        if at.x < arrayLength(&input) { input[at.x] = f32((at.x * 7u + frame.x * 13u) % 64u) / 32.0 - 1.0; }
    }";

/// What the app's pass computes, on the CPU.
fn pattern(frame: u32) -> Vec<f32> {
    (0..COLS as u32).map(|i| ((i * 7 + frame * 13) % 64) as f32 / 32.0 - 1.0).collect()
}

/// One frame's result from the GPU, and the same from the CPU.
#[derive(Debug)]
pub struct Frame {
    pub gpu: Vec<f32>,
    pub cpu: Vec<f32>,
}

/// What the app holds.
struct App {
    device: wgpu::Device,
    queue: wgpu::Queue,
    frame: wgpu::Buffer,
    input: wgpu::Buffer,
    output: wgpu::Buffer,
    pattern: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
}

/// Any adapter, a software one too.
pub async fn adapter() -> Option<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    instance.enumerate_adapters(wgpu::Backends::PRIMARY).await.into_iter().next()
}

impl App {
    async fn new(adapter: &wgpu::Adapter) -> Result<Self, Box<dyn Error>> {
        let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await?;
        let buffer = |size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let frame = buffer(16, BufferUsages::UNIFORM | BufferUsages::COPY_DST);
        let input = buffer(BYTES[1], BufferUsages::STORAGE);
        let output = buffer(BYTES[0], BufferUsages::STORAGE | BufferUsages::COPY_SRC);
        let source = wgpu::ShaderSource::Wgsl(PATTERN.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let pattern = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("pattern"),
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let entries = [&input, &frame].into_iter().zip(0..);
        let entries = entries.map(|(b, binding)| wgpu::BindGroupEntry { binding, resource: b.as_entire_binding() });
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pattern.get_bind_group_layout(0),
            entries: &entries.collect::<Vec<_>>(),
        });
        Ok(Self { device, queue, frame, input, output, pattern, bindings })
    }

    fn record_pattern(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&self.pattern);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups((COLS as u32).div_ceil(64), 1, 1);
    }

    /// A copy of the output, to be read when the GPU is done with this frame.
    fn record_copy(&self, encoder: &mut wgpu::CommandEncoder) -> wgpu::Buffer {
        let copy = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("copy"),
            size: BYTES[0],
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        encoder.copy_buffer_to_buffer(&self.output, 0, &copy, 0, BYTES[0]);
        copy
    }
}

/// Runs the app for some frames.
pub async fn run(adapter: &wgpu::Adapter, frames: u32) -> Result<Vec<Frame>, Box<dyn Error>> {
    let app = App::new(adapter).await?;

    // The app's device as one of bitsmith's, and the layer on it.
    let gpu = Arc::new(WgpuDevice::from_parts(&adapter.get_info(), app.device.clone(), app.queue.clone()));
    let ours = Device::Wgpu(gpu.clone());
    let matrix = Tensor::from_f32(vec![ROWS, COLS], &Random::new(1).normals(ROWS * COLS))?;
    let scheme: Scheme = "w4g32s".parse()?;
    let packed = PackedTensor::pack(&quant::quantize(&Device::cpu(), &matrix, scheme).await?);
    let layer = GroupWeight::upload(&ours, &packed)?;

    // The layer from the app's input to the app's output, recorded once.
    let x = Activations { buffer: gpu.import(app.input.clone(), 4 * COLS)?, rows: 1, cols: COLS };
    let y = Activations { buffer: gpu.import(app.output.clone(), 4 * ROWS)?, rows: 1, cols: ROWS };
    let mut recorder = Recorder::new(&ours);
    op::group_into(&mut recorder, &x, &layer, &y)?;
    let layer = gpu.prepare(recorder.finish())?;

    let (sender, arrived) = mpsc::channel();
    let mut results = vec![Vec::new(); frames as usize];
    for frame in 0..frames {
        app.queue.write_buffer(&app.frame, 0, &frame.to_le_bytes());
        let mut encoder = app.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        app.record_pattern(&mut encoder);
        layer.encode(&mut encoder);
        let copy = app.record_copy(&mut encoder);
        app.queue.submit([encoder.finish()]);

        let (sender, mapped) = (sender.clone(), copy.clone());
        copy.map_async(wgpu::MapMode::Read, .., move |result| {
            // The loop below ends before the receiver does.
            let _ = sender.send((frame, mapped, result));
        });
        // Frees what is done and calls back, without waiting.
        app.device.poll(wgpu::PollType::Poll)?;
        arrived.try_iter().try_for_each(|arrival| take(arrival, &mut results))?;
    }
    drop(sender);
    // The app ends: only now it waits.
    app.device.poll(wgpu::PollType::wait_indefinitely())?;
    arrived.iter().try_for_each(|arrival| take(arrival, &mut results))?;

    let mut all = Vec::new();
    for (frame, gpu) in (0..frames).zip(results) {
        all.push(Frame { gpu, cpu: on_cpu(&packed, &pattern(frame)).await? });
    }
    Ok(all)
}

type Arrival = (u32, wgpu::Buffer, Result<(), wgpu::BufferAsyncError>);

/// Keeps one frame's result.
fn take((frame, copy, result): Arrival, results: &mut [Vec<f32>]) -> Result<(), Box<dyn Error>> {
    result?;
    let bytes = copy.get_mapped_range(..)?;
    results[frame as usize] = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok(())
}

async fn on_cpu(packed: &PackedTensor, input: &[f32]) -> bitsmith::Result<Vec<f32>> {
    let cpu = Device::cpu();
    let layer = GroupWeight::upload(&cpu, packed)?;
    let x = Activations::upload(&cpu, 1, input.len(), input)?;
    let mut recorder = Recorder::new(&cpu);
    let y = op::group(&mut recorder, &x, &layer)?;
    recorder.submit()?;
    y.read(&cpu).await
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(adapter) = pollster::block_on(adapter()) else {
        println!("no wgpu adapter here");
        return Ok(());
    };
    println!("a {ROWS} x {COLS} layer of 4 bits on {}", adapter.get_info().name);
    for (i, frame) in pollster::block_on(run(&adapter, 8))?.iter().enumerate() {
        let apart = frame.gpu.iter().zip(&frame.cpu).map(|(g, c)| (g - c).abs()).fold(0.0, f32::max);
        println!("frame {i}: first values {:?}, at most {apart:.1e} from the CPU", &frame.gpu[..3]);
    }
    Ok(())
}
