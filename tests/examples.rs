//! The examples do what they say. `BITSMITH_REQUIRE=wgpu` makes a missing adapter a failure.

#[allow(dead_code, reason = "main is for cargo run")]
#[path = "../examples/compare_devices.rs"]
mod compare_devices;
#[cfg(feature = "wgpu")]
#[allow(dead_code, reason = "main is for cargo run")]
#[path = "../examples/embed_in_wgpu_app.rs"]
mod embed_in_wgpu_app;
#[allow(dead_code, reason = "main is for cargo run")]
#[path = "../examples/quantize_model.rs"]
mod quantize_model;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials =
        vec![Trial::test("quantize_model", quantizes_a_model), Trial::test("compare_devices", devices_agree)];
    trials.extend(embedding());
    libtest_mimic::run(&arguments, trials).exit();
}

fn quantizes_a_model() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("tiny-llama-w4");
    let done = quantize_model::run(&out)?;
    let quality = done.evaluation.ok_or("no quality was measured")?;
    assert!(out.join("model.safetensors").is_file());
    assert!(quality.reference_perplexity.is_some_and(|before| before < quality.perplexity));
    Ok(())
}

/// Codes are exact on every device.
fn devices_agree() -> Result<(), Failed> {
    let runs = pollster::block_on(compare_devices::run())?;
    for run in &runs {
        assert_eq!(run.tensor, runs[0].tensor, "{}", run.device);
    }
    Ok(())
}

#[cfg(not(feature = "wgpu"))]
fn embedding() -> Vec<Trial> {
    absent("built without the feature wgpu")
}

#[cfg(feature = "wgpu")]
fn embedding() -> Vec<Trial> {
    if pollster::block_on(embed_in_wgpu_app::adapter()).is_none() {
        return absent("no adapter found");
    }
    vec![
        Trial::test("embed_in_wgpu_app", embed::frames_agree),
        Trial::test("embed_in_wgpu_app/a recording is encoded again, or once", embed::encoded),
        Trial::test("embed_in_wgpu_app/imported buffers stay the caller's", embed::imported),
    ]
}

fn absent(why: &'static str) -> Vec<Trial> {
    let required = std::env::var("BITSMITH_REQUIRE").is_ok_and(|r| r.split(',').any(|d| d == "wgpu"));
    vec![Trial::test(format!("wgpu is absent: {why}"), move || Err(why.into())).with_ignored_flag(!required)]
}

#[cfg(feature = "wgpu")]
mod embed {
    use std::sync::Arc;

    use bitsmith::device::wgpu::WgpuDevice;
    use bitsmith::op::{self, Activations};
    use bitsmith::{Device, Recorder};
    use libtest_mimic::Failed;
    use wgpu::BufferUsages;

    /// Sums of 256 products of values up to 1 and weights about 1, in another order: errors of about 16 times
    /// 2^-24 times the size of the sum, about 16. llvmpipe differs by nothing here.
    const SUMS: f32 = 1e-4;

    pub fn frames_agree() -> Result<(), Failed> {
        let adapter = pollster::block_on(super::embed_in_wgpu_app::adapter()).ok_or("no adapter found")?;
        let frames = pollster::block_on(super::embed_in_wgpu_app::run(&adapter, 8)).map_err(|e| e.to_string())?;
        assert_eq!(frames.len(), 8);
        for (i, frame) in frames.iter().enumerate() {
            assert_eq!(frame.gpu.len(), frame.cpu.len(), "frame {i}");
            for (gpu, cpu) in frame.gpu.iter().zip(&frame.cpu) {
                assert!((gpu - cpu).abs() <= SUMS, "frame {i}: {gpu} on the GPU, {cpu} on the CPU");
            }
            assert!(i == 0 || frame.gpu != frames[i - 1].gpu, "frame {i} is the one before");
        }
        Ok(())
    }

    struct Caller {
        device: wgpu::Device,
        queue: wgpu::Queue,
        gpu: Arc<WgpuDevice>,
    }

    fn caller() -> Result<Caller, Failed> {
        let adapter = pollster::block_on(super::embed_in_wgpu_app::adapter()).ok_or("no adapter found")?;
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
        let gpu = Arc::new(WgpuDevice::from_parts(&adapter.get_info(), device.clone(), queue.clone()));
        Ok(Caller { device, queue, gpu })
    }

    impl Caller {
        fn buffer(&self, size: u64, usage: BufferUsages) -> wgpu::Buffer {
            let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
            self.device.create_buffer(&descriptor)
        }

        fn run(&self, encode: impl FnOnce(&mut wgpu::CommandEncoder) -> bitsmith::Result<()>) -> bitsmith::Result<()> {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encode(&mut encoder)?;
            self.queue.submit([encoder.finish()]);
            Ok(())
        }
    }

    pub fn encoded() -> Result<(), Failed> {
        let caller = caller()?;
        let ours = Device::Wgpu(caller.gpu.clone());
        let x = Activations::upload(&ours, 1, 4, &[1.0, 2.0, 3.0, 4.0])?;
        let mut recorder = Recorder::new(&ours);
        // The intermediate result is dropped: its memory must stay with the recording.
        let twice = op::add(&mut recorder, &x, &x)?;
        let y = op::add(&mut recorder, &twice, &x)?;
        drop(twice);
        let recording = recorder.finish();
        caller.run(|encoder| caller.gpu.encode(&recording, encoder))?;
        assert_eq!(pollster::block_on(y.read(&ours))?, [3.0, 6.0, 9.0, 12.0]);

        let prepared = caller.gpu.prepare(recording)?;
        let pipelines = caller.gpu.pipelines();
        for _ in 0..3 {
            let other = ours.upload(&[7.0f32; 4])?;
            caller.run(|encoder| {
                prepared.encode(encoder);
                Ok(())
            })?;
            assert_eq!(pollster::block_on(y.read(&ours))?, [3.0, 6.0, 9.0, 12.0]);
            assert_eq!(pollster::block_on(ours.read::<f32>(&other))?, [7.0; 4]);
        }
        assert_eq!(caller.gpu.pipelines(), pipelines);
        // A recording of another device is refused.
        let mut foreign = Recorder::new(&Device::cpu());
        let x = Activations::upload(foreign.device(), 1, 1, &[1.0])?;
        op::add(&mut foreign, &x, &x)?;
        assert!(caller.gpu.prepare(foreign.finish()).is_err());
        Ok(())
    }

    pub fn imported() -> Result<(), Failed> {
        let caller = caller()?;
        let ours = Device::Wgpu(caller.gpu.clone());
        let theirs = caller.buffer(256, BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST);
        caller.queue.write_buffer(&theirs, 0, &[0; 256]);
        let before = ours.memory();
        let imported = caller.gpu.import(theirs.clone(), 256)?;
        assert_eq!(pollster::block_on(ours.read::<u32>(&imported))?, [0; 64]);
        drop(imported);
        // Nothing of ours ends up in it.
        let held = ours.upload(&[1u32; 64])?;
        assert_eq!(ours.memory().created, before.created + 1);
        let imported = caller.gpu.import(theirs.clone(), 128)?;
        assert_eq!(pollster::block_on(ours.read::<u32>(&imported))?, [0; 32]);
        drop(held);
        // Twice the same memory is seen through.
        let again = Activations { buffer: caller.gpu.import(theirs.clone(), 128)?, rows: 1, cols: 32 };
        let mut recorder = Recorder::new(&ours);
        let variant = bitsmith::kernel::add::variant();
        let params = bitsmith::kernel::activate::Params { count: 32 };
        let bound = [&imported, &imported, &again.buffer];
        assert!(recorder.dispatch::<bitsmith::kernel::add::Add>(&params, variant, &bound).is_err());
        for bytes in [0, 6, 260] {
            assert!(caller.gpu.import(theirs.clone(), bytes).is_err(), "{bytes} bytes");
        }
        assert!(caller.gpu.import(caller.buffer(256, BufferUsages::UNIFORM), 256).is_err());
        Ok(())
    }
}
