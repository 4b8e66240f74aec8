//! Memory of the CPU device, which obeys the rules of every device, and the names of devices.

use bitsmith::kernel::activate::Params;
use bitsmith::kernel::add::{Add, variant};
use bitsmith::{Buffer, Device, DeviceRequest, Error, Recorder};
use libtest_mimic::{Failed, Trial};

use super::expect_error;

type Outcome = Result<(), Failed>;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("memory/a buffer of another device is refused", foreign_buffers),
        Trial::test("memory/the cap gives an error and freed memory is reused", cap_and_reuse),
        Trial::test("memory/a written buffer is bound once", aliases),
        Trial::test("memory/a slice stays inside its buffer", slices),
        Trial::test("names/devices parse and print", names),
    ]
}

/// `out = a + b` over 64 elements, submitted.
pub fn add(device: &Device, buffers: [&Buffer; 3]) -> bitsmith::Result<()> {
    let mut recorder = Recorder::new(device);
    recorder.dispatch::<Add>(&Params { count: 64 }, variant(), &buffers)?;
    recorder.submit()
}

fn foreign_buffers() -> Outcome {
    let (one, other) = (Device::cpu(), Device::cpu());
    let (ours, theirs) = (one.upload(&[1.0f32; 64])?, other.upload(&[2.0f32; 64])?);
    expect_error(add(&one, [&ours, &theirs, &one.alloc(256)?]), &["another device"])?;
    expect_error(pollster::block_on(one.read::<f32>(&theirs)), &["another device"])?;
    let mut recorder = Recorder::new(&other);
    recorder.dispatch::<Add>(&Params { count: 64 }, variant(), &[&theirs, &theirs, &other.alloc(256)?])?;
    expect_error(one.submit(recorder.finish()), &["another device"])?;
    // Clones are the same device.
    add(&one.clone(), [&ours, &ours, &one.alloc(256)?])?;
    Ok(())
}

/// Bytes: a size that is a size class of its own.
const BLOCK: usize = 4096;

fn cap_and_reuse() -> Outcome {
    let device = Device::cpu();
    device.set_memory_cap(2 * BLOCK as u64);
    let (first, second) = (device.alloc(BLOCK)?, device.alloc(BLOCK)?);
    match device.alloc(BLOCK) {
        Err(Error::Limit { wanted, allowed, .. }) => {
            assert_eq!((wanted, allowed), (3 * BLOCK as u64, 2 * BLOCK as u64))
        }
        other => return Err(format!("{other:?}").into()),
    }
    drop(first);
    let third = device.alloc(BLOCK)?;
    let stats = device.memory();
    assert_eq!((stats.created, stats.allocated, stats.peak), (2, 2 * BLOCK as u64, 2 * BLOCK as u64));
    drop((second, third));
    // Idle memory of another class makes room.
    let large = device.alloc(2 * BLOCK)?;
    assert_eq!((device.memory().created, device.memory().allocated), (3, 2 * BLOCK as u64));
    drop(large);
    Ok(())
}

fn aliases() -> Outcome {
    let device = Device::cpu();
    let (a, b) = (device.upload(&[1.0f32; 64])?, device.upload(&[2.0f32; 128])?);
    add(&device, [&a, &a, &b])?;
    expect_error(add(&device, [&a, &b, &b]), &["add", "bound once"])?;
    // A slice is the same memory, even where nothing overlaps.
    let halves = [b.slice(0, 256)?, b.slice(256, 256)?];
    expect_error(add(&device, [&halves[0], &a, &halves[1]]), &["add", "bound once"])?;
    Ok(())
}

fn slices() -> Outcome {
    let buffer = Device::cpu().alloc(1024)?;
    assert_eq!(buffer.slice(256, 512)?.slice(256, 256)?.bytes(), 256);
    expect_error(buffer.slice(4, 4), &["slice", "multiple of 256"])?;
    expect_error(buffer.slice(768, 257), &["slice", "1024 bytes"])?;
    expect_error(buffer.slice(256, usize::MAX - 3), &["slice"])?;
    Ok(())
}

fn names() -> Outcome {
    let requests = [
        ("auto", DeviceRequest::Auto),
        ("cpu", DeviceRequest::Cpu),
        ("wgpu", DeviceRequest::Wgpu(None)),
        ("wgpu:0", DeviceRequest::Wgpu(Some(0))),
        ("wgpu:17", DeviceRequest::Wgpu(Some(17))),
        ("cuda", DeviceRequest::Cuda(None)),
        ("cuda:1", DeviceRequest::Cuda(Some(1))),
    ];
    for (text, request) in requests {
        assert_eq!(text.parse::<DeviceRequest>()?, request);
        assert_eq!(request.to_string(), text);
    }
    let bad = [
        "",
        "CPU",
        "gpu",
        "cpu:0",
        "wgpu:",
        "wgpu:-1",
        "wgpu:x",
        "wgpu:0:1",
        "cuda:-1",
        "wgpu:99999999999999999999999",
    ];
    bad.iter().try_for_each(|text| expect_error(text.parse::<DeviceRequest>(), &["device", text, "wgpu:N"]))
}
