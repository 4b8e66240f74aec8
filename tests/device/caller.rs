//! A wgpu device that stays its caller's: whose errors go where, and who waits.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bitsmith::device::wgpu::WgpuDevice;
use bitsmith::op::{self, Activations, DenseWeight};
use bitsmith::{Activation, Device, Recorder, Tensor};
use libtest_mimic::{Failed, Trial};
use wgpu::BufferUsages;

use super::{expect_error, gpu, memory};

type Outcome = Result<(), Failed>;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("caller/its errors are its own, ours are ours", errors),
        Trial::test("caller/its error scopes see nothing of ours", scopes),
        Trial::test("caller/it hears that the device is lost, and so do we", loss),
        Trial::test("caller/its frame loop reads without waiting", frame_loop),
        Trial::test("caller/an executor that only polls the future reads too", executor),
        Trial::test("caller/its buffers, where they do not fit", buffers),
        Trial::test("caller/its buffers take the results of operations", results),
    ]
}

struct Caller {
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    ours: Device,
    /// What its error callback heard.
    heard: Arc<Mutex<Vec<String>>>,
    /// How often its device-lost callback was called.
    losses: Arc<AtomicUsize>,
}

impl Caller {
    fn new() -> Result<Self, Failed> {
        let adapter = gpu::adapter().ok_or("no adapter found")?;
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
        let (heard, losses) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let slot = heard.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| slot.lock().unwrap().push(error.to_string())));
        let count = losses.clone();
        device.set_device_lost_callback(move |_, _| {
            count.fetch_add(1, SeqCst);
        });
        let gpu = WgpuDevice::from_parts(&adapter.get_info(), device.clone(), queue.clone());
        Ok(Self { adapter, device, queue, ours: Device::Wgpu(Arc::new(gpu)), heard, losses })
    }

    fn gpu(&self) -> &WgpuDevice {
        match &self.ours {
            Device::Wgpu(gpu) => gpu,
            _ => unreachable!("made from wgpu's parts"),
        }
    }

    fn buffer(&self, size: u64, usage: BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    }

    fn heard(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    /// Something that wgpu refuses.
    fn blunder(&self) {
        self.buffer(64, BufferUsages::MAP_READ | BufferUsages::STORAGE);
    }

    /// A binding that wgpu refuses: a buffer of another device of the same adapter.
    fn our_blunder(&self) -> bitsmith::Result<()> {
        let (other, _) = pollster::block_on(self.adapter.request_device(&wgpu::DeviceDescriptor::default()))
            .expect("an adapter gives more than one device");
        let theirs = other.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 256,
            usage: BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let theirs = self.gpu().import(theirs, 256)?;
        memory::add(&self.ours, [&theirs, &theirs, &self.ours.alloc(256)?])
    }
}

fn errors() -> Outcome {
    let caller = Caller::new()?;
    caller.blunder();
    assert_eq!(caller.heard(), 1);
    expect_error(caller.our_blunder(), &[&caller.ours.caps().name, "Device"])?;
    // Memory that may not be copied from cannot be read.
    let sealed = caller.gpu().import(caller.buffer(256, BufferUsages::STORAGE), 256)?;
    expect_error(pollster::block_on(caller.ours.read::<u32>(&sealed)), &["COPY_SRC"])?;
    assert_eq!(caller.heard(), 1, "{:?}", caller.heard.lock().unwrap());
    // Both go on.
    caller.blunder();
    assert_eq!(caller.heard(), 2);
    let x = caller.ours.upload(&[1.0f32; 64])?;
    memory::add(&caller.ours, [&x, &x, &caller.ours.alloc(256)?])?;
    assert_eq!(pollster::block_on(caller.ours.read::<f32>(&x))?, [1.0; 64]);
    assert_eq!((caller.heard(), caller.losses.load(SeqCst)), (2, 0));
    Ok(())
}

fn scopes() -> Outcome {
    let caller = Caller::new()?;
    let scope = caller.device.push_error_scope(wgpu::ErrorFilter::Validation);
    expect_error(caller.our_blunder(), &["Device"])?;
    assert!(pollster::block_on(scope.pop()).is_none());
    let scope = caller.device.push_error_scope(wgpu::ErrorFilter::Validation);
    caller.blunder();
    caller.ours.upload(&[1u32; 64])?;
    assert!(pollster::block_on(scope.pop()).is_some());
    assert_eq!(caller.heard(), 0);
    Ok(())
}

fn loss() -> Outcome {
    let caller = Caller::new()?;
    let x = caller.ours.upload(&[1.0f32; 64])?;
    caller.device.destroy();
    expect_error(caller.ours.upload(&[1u32]), &[&caller.ours.caps().name, "lost"])?;
    expect_error(pollster::block_on(caller.ours.read::<f32>(&x)), &["lost"])?;
    caller.device.poll(wgpu::PollType::Poll)?;
    assert_eq!((caller.losses.load(SeqCst), caller.heard()), (1, 0), "{:?}", caller.heard.lock().unwrap());
    Ok(())
}

/// Work that keeps any device busy for a while: each step needs the one before.
const LONG: &str = "
    @group(0) @binding(0) var<storage, read_write> out: array<u32>;
    @compute @workgroup_size(1) fn main() {
        var x = out[0];
        for (var i = 0u; i < STEPS; i++) { x = x * 1664525u + 1013904223u; }
        out[0] = x;
    }";

/// Steps of [`LONG`]: some hundredths of a second on a CPU.
const STEPS: u32 = 20_000_000;

/// Submits [`LONG`].
fn keep_busy(caller: &Caller, steps: u32) {
    let source = wgpu::ShaderSource::Wgsl(format!("const STEPS = {steps}u;{LONG}").into());
    let module = caller.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let pipeline = caller.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let out = caller.buffer(4, BufferUsages::STORAGE);
    let bindings = caller.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: out.as_entire_binding() }],
    });
    let mut encoder = caller.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &bindings, &[]);
    pass.dispatch_workgroups(1, 1, 1);
    drop(pass);
    caller.queue.submit([encoder.finish()]);
}

/// A loop that looks at the future once a frame; nobody wakes it.
fn frame_loop() -> Outcome {
    let caller = Caller::new()?;
    let x = caller.ours.upload(&[3.0f32; 64])?;
    let mut context = Context::from_waker(Waker::noop());
    for attempt in 0..ATTEMPTS {
        keep_busy(&caller, STEPS << attempt);
        let mut read = pin!(caller.ours.read::<f32>(&x));
        let mut frames = 0;
        let values = loop {
            if let Poll::Ready(values) = read.as_mut().poll(&mut context) {
                break values?;
            }
            frames += 1;
            caller.device.poll(wgpu::PollType::Poll)?;
            std::thread::sleep(std::time::Duration::from_millis(1));
        };
        assert_eq!(values, [3.0; 64]);
        if frames > 0 {
            return Ok(());
        }
    }
    Err("the first look at the future waits for the work before it".into())
}

/// A thread that the system holds up may find the work done at its first look; not when that takes ever longer.
const ATTEMPTS: u32 = 7;

fn executor() -> Outcome {
    let caller = Caller::new()?;
    let x = caller.ours.upload(&[3.0f32; 64])?;
    keep_busy(&caller, STEPS);
    assert_eq!(pollster::block_on(caller.ours.read::<f32>(&x))?, [3.0; 64]);
    Ok(())
}

fn buffers() -> Outcome {
    let caller = Caller::new()?;
    let theirs = caller.buffer(1024, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
    let imported = caller.gpu().import(theirs.clone(), 1024)?;
    expect_error(imported.slice(100, 256), &["slice", "multiple of 256", "at 100"])?;
    expect_error(imported.slice(768, 512), &["slice", "within 1024 bytes", "512 bytes at 768"])?;
    expect_error(caller.gpu().import(theirs.clone(), 1028), &["imported buffer", "1028", "1024"])?;
    expect_error(caller.gpu().import(theirs, 6), &["imported buffer", "6 bytes", "multiple of 4"])?;
    let uniform = caller.buffer(256, BufferUsages::UNIFORM | BufferUsages::COPY_DST);
    expect_error(caller.gpu().import(uniform, 256), &["imported buffer", "UNIFORM", "add the usage STORAGE"])?;
    // A slice is bound where it lies, and what is around it stays.
    let x = Activations::upload(&caller.ours, 1, 4, &[-1.0, 2.0, -3.0, 4.0])?;
    let y = Activations { buffer: imported.slice(512, 16)?, rows: 1, cols: 4 };
    let mut recorder = Recorder::new(&caller.ours);
    op::activate_into(&mut recorder, Activation::Relu, &x, &y)?;
    recorder.submit()?;
    let found = pollster::block_on(caller.ours.read::<f32>(&imported))?;
    assert_eq!(found[128..132], [0.0, 2.0, 0.0, 4.0]);
    assert!(found[..128].iter().chain(&found[132..]).all(|x| *x == 0.0));
    assert_eq!(caller.heard(), 0);
    Ok(())
}

/// Each operation that takes a buffer for its result leaves there what the one without returns.
fn results() -> Outcome {
    let caller = Caller::new()?;
    let ours = &caller.ours;
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
    let room = |cols: usize| -> bitsmith::Result<Activations> {
        let bytes = 2 * cols * 4;
        let buffer = caller.gpu().import(caller.buffer(bytes as u64, usage), bytes)?;
        Ok(Activations { buffer, rows: 2, cols })
    };
    let values: Vec<f32> = (0..16u8).map(|i| f32::from(i) / 4.0 - 1.5).collect();
    let (x, up) = (Activations::upload(ours, 2, 8, &values)?, Activations::upload(ours, 2, 8, &[2.0; 16])?);
    let (weight, bias) = (ours.upload(&values[4..12])?, ours.upload(&values[..8])?);
    let dense = DenseWeight::upload(ours, &Tensor::from_f32(vec![2, 8], &values)?)?;
    let mut rec = Recorder::new(ours);
    let out = [room(2)?, room(8)?, room(8)?, room(8)?, room(8)?, room(8)?];
    op::dense_into(&mut rec, &x, &dense, &out[0])?;
    op::activate_into(&mut rec, Activation::Silu, &x, &out[1])?;
    op::gate_into(&mut rec, Activation::Silu, &x, &up, &out[2])?;
    op::add_into(&mut rec, &x, &up, &out[3])?;
    op::rms_norm_into(&mut rec, &x, &weight, 1e-5, &out[4])?;
    op::layer_norm_into(&mut rec, &x, &weight, &bias, 1e-5, &out[5])?;
    let own = [
        op::dense(&mut rec, &x, &dense)?,
        op::activate(&mut rec, Activation::Silu, &x)?,
        op::gate(&mut rec, Activation::Silu, &x, &up)?,
        op::add(&mut rec, &x, &up)?,
        op::rms_norm(&mut rec, &x, &weight, 1e-5)?,
        op::layer_norm(&mut rec, &x, &weight, &bias, 1e-5)?,
    ];
    // What does not fit, and what is read at the same time.
    expect_error(op::dense_into(&mut rec, &x, &dense, &out[1]), &["dense product", "2 x 2", "2 x 8"])?;
    expect_error(op::add_into(&mut rec, &x, &up, &out[0]), &["add", "2 x 8 f32 values"])?;
    expect_error(op::rms_norm_into(&mut rec, &x, &weight, 1e-5, &x), &["rms_norm", "bound once"])?;
    rec.submit()?;
    for (i, (out, own)) in out.iter().zip(&own).enumerate() {
        let (out, own) = (pollster::block_on(out.read(ours))?, pollster::block_on(own.read(ours))?);
        assert_eq!(out, own, "operation {i}");
        assert!(own.iter().any(|x| *x != 0.0), "operation {i}");
    }
    Ok(())
}
