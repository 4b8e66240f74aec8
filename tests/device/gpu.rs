//! A wgpu device that somebody else made: lost, short of memory, wrong.

use libtest_mimic::Trial;

/// Without the feature as without an adapter: one trial that is ignored, or fails where a device is required.
fn absent(why: &'static str) -> Vec<Trial> {
    let required = std::env::var("BITSMITH_REQUIRE").is_ok_and(|r| r.split(',').any(|d| d == "wgpu"));
    vec![Trial::test(format!("gpu/wgpu is absent: {why}"), move || Err(why.into())).with_ignored_flag(!required)]
}

#[cfg(not(feature = "wgpu"))]
pub fn trials() -> Vec<Trial> {
    absent("built without the feature wgpu")
}

#[cfg(feature = "wgpu")]
pub use present::{adapter, trials};

#[cfg(feature = "wgpu")]
mod present {
    use std::sync::Arc;

    use bitsmith::device::wgpu::WgpuDevice;
    use bitsmith::{Buffer, Device, Error, Recorder, check};
    use libtest_mimic::{Failed, Trial};

    use super::super::{expect_error, memory, submissions, wrong};

    type Outcome = Result<(), Failed>;

    pub fn trials() -> Vec<Trial> {
        if adapter().is_none() {
            return super::absent("no adapter found");
        }
        let mut trials = super::super::caller::trials();
        trials.extend([
            Trial::test("gpu/a buffer of another device is refused", foreign_buffers),
            Trial::test("gpu/a lost device gives errors", lost_when_idle),
            Trial::test("gpu/a device lost after work was submitted gives errors", lost_when_busy),
            Trial::test("gpu/a buffer beyond the device's limit is an error", too_large),
            Trial::test("gpu/the cap holds and freed memory is reused", cap_and_reuse),
            Trial::test("gpu/work and reading its result are one submission", one_submission),
            Trial::test("gpu/a generated token is one submission", one_token),
            Trial::test("gpu/a profile runs every step, timed where there are timestamps", profile),
            Trial::test("gpu/a wrong device is refused", || wrong::refused(&open(&wgpu::Limits::default())?.0)),
            Trial::test("gpu/what it leaves unwritten or writes too far", || {
                wrong::edges(&open(&wgpu::Limits::default())?.0)
            }),
            Trial::test("gpu/a step of learned rounding is the CPU's", || {
                let device = WgpuDevice::open(0);
                super::super::learned::step(&Device::Wgpu(pollster::block_on(device)?.into()))
            }),
            Trial::test("gpu/three levels and their products are the CPU's, bit for bit", || {
                let device = WgpuDevice::open(0);
                super::super::ternary::equal(&Device::Wgpu(pollster::block_on(device)?.into()))
            }),
            Trial::test("gpu/an adapter that is not there is an error", not_there),
            Trial::test("gpu/opening creates no pipeline but those of the self-test", pipelines),
        ]);
        trials
    }

    pub fn adapter() -> Option<wgpu::Adapter> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY)).into_iter().next()
    }

    /// A device with these limits, and the caller's handle of it.
    fn open(limits: &wgpu::Limits) -> Result<(Device, wgpu::Device), Failed> {
        let adapter = adapter().ok_or("no adapter found")?;
        let descriptor = wgpu::DeviceDescriptor { required_limits: limits.clone(), ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
        let ours = WgpuDevice::from_parts(&adapter.get_info(), device.clone(), queue);
        Ok((Device::Wgpu(Arc::new(ours)), device))
    }

    fn foreign_buffers() -> Outcome {
        let limits = wgpu::Limits::default();
        let (gpu, twin, cpu) = (open(&limits)?.0, open(&limits)?.0, Device::cpu());
        let ours = gpu.upload(&[1.0f32; 64])?;
        for other in [&twin, &cpu] {
            let theirs = other.upload(&[2.0f32; 64])?;
            expect_error(memory::add(&gpu, [&ours, &theirs, &gpu.alloc(256)?]), &["another device"])?;
            expect_error(memory::add(other, [&ours, &theirs, &other.alloc(256)?]), &["another device"])?;
            expect_error(pollster::block_on(gpu.read::<f32>(&theirs)), &["another device"])?;
        }
        Ok(())
    }

    fn one_submission() -> Outcome {
        submissions::one(&open(&wgpu::Limits::default())?.0)
    }

    fn one_token() -> Outcome {
        submissions::token(&open(&wgpu::Limits::default())?.0)
    }

    /// On a device without the feature, and on one with all that we make use of.
    fn profile() -> Outcome {
        submissions::profile(&open(&wgpu::Limits::default())?.0)?;
        submissions::profile(&Device::Wgpu(pollster::block_on(WgpuDevice::open(0))?.into()))
    }

    fn busy(device: &Device) -> bitsmith::Result<()> {
        let x = device.upload(&[1.0f32; 64])?;
        memory::add(device, [&x, &x, &device.alloc(256)?])
    }

    fn lost_when_idle() -> Outcome {
        let (device, theirs) = open(&wgpu::Limits::default())?;
        let buffers = [device.upload(&[1.0f32; 64])?, device.alloc(256)?];
        theirs.destroy();
        expect_error(device.upload(&[1.0f32; 64]), &[&device.caps().name, "lost"])?;
        all_fail(&device, &buffers)
    }

    /// A GPU tells of its loss once its work has ended: what waits for it hears of it.
    fn lost_when_busy() -> Outcome {
        let (device, theirs) = open(&wgpu::Limits::default())?;
        let buffers = [device.upload(&[1.0f32; 64])?, device.alloc(256)?];
        busy(&device)?;
        theirs.destroy();
        expect_error(pollster::block_on(device.read::<f32>(&buffers[1])), &[&device.caps().name, "lost"])?;
        all_fail(&device, &buffers)
    }

    fn all_fail(device: &Device, [x, out]: &[Buffer; 2]) -> Outcome {
        let lost = [device.caps().name.as_str(), "lost"];
        expect_error(device.alloc(1 << 20), &lost)?;
        expect_error(device.upload(&[1.0f32; 64]), &lost)?;
        expect_error(memory::add(device, [x, x, out]), &lost)?;
        expect_error(pollster::block_on(device.read::<f32>(x)), &lost)?;
        expect_error(pollster::block_on(device.read_all(&[x, out])), &lost)?;
        expect_error(pollster::block_on(check::self_test(device)), &lost)
    }

    fn too_large() -> Outcome {
        let limits = wgpu::Limits { max_buffer_size: 1 << 20, ..wgpu::Limits::downlevel_defaults() };
        let limits = wgpu::Limits {
            max_storage_buffer_binding_size: 1 << 20,
            max_uniform_buffer_binding_size: 1 << 14,
            ..limits
        };
        let (device, _) = open(&limits)?;
        match device.alloc((1 << 20) + 4) {
            Err(Error::Limit { allowed, .. }) => assert_eq!(allowed, 1 << 20),
            other => return Err(format!("{other:?}").into()),
        }
        // The device goes on.
        let held: Vec<Buffer> = (0..4).map(|_| device.alloc(1 << 20)).collect::<Result<_, _>>()?;
        busy(&device)?;
        drop(held);
        Ok(())
    }

    fn cap_and_reuse() -> Outcome {
        let (device, _) = open(&wgpu::Limits::default())?;
        device.set_memory_cap(8192);
        drop(device.alloc(4096)?);
        let held = [device.alloc(4096)?, device.alloc(4096)?];
        assert_eq!(device.memory().created, 2);
        match device.alloc(256) {
            Err(Error::Limit { allowed: 8192, .. }) => {}
            other => return Err(format!("{other:?}").into()),
        }
        drop(held);
        // Intermediate results of one recording share memory.
        let recorder = Recorder::new(&device);
        for _ in 0..10 {
            drop(recorder.alloc(4096)?);
        }
        assert_eq!(device.memory().created, 2);
        Ok(())
    }

    fn pipelines() -> Outcome {
        let gpu = Arc::new(pollster::block_on(WgpuDevice::open(0))?);
        assert_eq!(gpu.pipelines(), 0);
        let device = Device::Wgpu(gpu.clone());
        let test = pollster::block_on(check::self_test(&device))?;
        assert_eq!(gpu.pipelines(), test.kernels);
        busy(&device)?;
        let before = gpu.pipelines();
        busy(&device)?;
        assert_eq!(gpu.pipelines(), before);
        Ok(())
    }

    fn not_there() -> Outcome {
        let open = |name: &str| pollster::block_on(check::open_device(&name.parse()?));
        expect_error(open("wgpu:999"), &["device", "wgpu:999", "bitsmith devices"])
    }
}
