//! A CUDA device, on the driver that is emulated on the host.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use bitsmith::device::cuda::CudaDevice;
use bitsmith::{Device, Error, check};
use libtest_mimic::{Failed, Trial};

use super::{emulated, expect_error, learned, memory, submissions, ternary};

type Outcome = Result<(), Failed>;

/// The emulated memory is one for all devices: who takes all of it is alone.
static MEMORY: RwLock<()> = RwLock::new(());
const TOO_LARGE: &str = "a buffer beyond the device's limit is an error";

pub fn trials() -> Vec<Trial> {
    let driver = match emulated::driver() {
        Ok(driver) => driver,
        Err(why) => {
            let required = std::env::var("BITSMITH_REQUIRE").is_ok_and(|r| r.split(',').any(|d| d == "emulated"));
            let name = format!("cuda/the emulated driver is absent: {why}");
            return vec![Trial::test(name, || Err(why.into())).with_ignored_flag(!required)];
        }
    };
    let trial = |name: &str, run: fn(&Device) -> Outcome| {
        let driver: PathBuf = driver.clone();
        let all_of_it = name == TOO_LARGE;
        Trial::test(format!("cuda/{name}"), move || {
            let _alone = all_of_it.then(|| MEMORY.write().unwrap_or_else(PoisonError::into_inner));
            let _beside_others = (!all_of_it).then(|| MEMORY.read().unwrap_or_else(PoisonError::into_inner));
            run(&Device::Cuda(CudaDevice::open_from(&driver, 0)?.into()))
        })
    };
    vec![
        trial("a buffer of another device is refused", foreign_buffers),
        trial("the cap holds and freed memory is reused", cap_and_reuse),
        trial(TOO_LARGE, too_large),
        trial("slices are copied, buffers of another device refused", copies),
        trial("bytes that are no whole words are padded with zeros", odd_bytes),
        trial("work and reading its result are one submission", submissions::one),
        trial("a generated token is one submission", submissions::token),
        trial("a profile runs every step and times it", submissions::profile),
        trial("a step of learned rounding is the CPU's", learned::step),
        trial("three levels and their products are the CPU's, bit for bit", ternary::equal),
        trial("opening loads no kernel but those of the self-test", kernels),
    ]
}

fn foreign_buffers(device: &Device) -> Outcome {
    let (ours, cpu) = (device.upload(&[1.0f32; 64])?, Device::cpu());
    let theirs = cpu.upload(&[2.0f32; 64])?;
    expect_error(memory::add(device, [&ours, &theirs, &device.alloc(256)?]), &["another device"])?;
    expect_error(memory::add(&cpu, [&ours, &theirs, &cpu.alloc(256)?]), &["another device"])?;
    expect_error(pollster::block_on(device.read::<f32>(&theirs)), &["another device"])
}

fn cap_and_reuse(device: &Device) -> Outcome {
    device.set_memory_cap(8192);
    drop(device.alloc(4096)?);
    let held = [device.alloc(4096)?, device.alloc(4096)?];
    assert_eq!(device.memory().created, 2);
    match device.alloc(256) {
        Err(Error::Limit { allowed: 8192, .. }) => {}
        other => return Err(format!("{other:?}").into()),
    }
    drop(held);
    // The idle memory of another class is given back to make room.
    assert_eq!(device.alloc(8192)?.bytes(), 8192);
    Ok(())
}

fn too_large(device: &Device) -> Outcome {
    let limit = device.caps().max_buffer_bytes;
    match device.alloc(limit as usize + 4) {
        Err(Error::Limit { allowed, .. }) => assert_eq!(allowed, limit),
        other => return Err(format!("{other:?}").into()),
    }
    expect_error(device.reserve(1 << 60), &["out of memory", "lower --window"])?;
    // The device goes on.
    let x = device.upload(&[1.0f32; 64])?;
    Ok(memory::add(device, [&x, &x, &device.alloc(256)?])?)
}

fn copies(device: &Device) -> Outcome {
    let Device::Cuda(gpu) = device else { return Err("no CUDA device".into()) };
    let numbers: Vec<u32> = (0..128).collect();
    let (from, to) = (device.upload(&numbers)?, device.upload(&[7u32; 192])?);
    gpu.copy(&from.slice(256, 256)?, &to.slice(256, 256)?)?;
    let expected = [&[7; 64][..], &numbers[64..], &[7; 64][..]].concat();
    assert_eq!(pollster::block_on(device.read::<u32>(&to))?, expected);
    let theirs = Device::cpu().upload(&numbers)?;
    expect_error(gpu.copy(&theirs, &to), &["another device"])?;
    expect_error(gpu.copy(&from, &theirs), &["another device"])
}

fn odd_bytes(device: &Device) -> Outcome {
    for length in [1usize, 3, 4, 5, 7, 1023] {
        let bytes: Vec<u8> = (0..length).map(|i| i as u8 | 1).collect();
        let buffer = device.upload(&bytes)?;
        let read = pollster::block_on(device.read::<u8>(&buffer))?;
        assert_eq!(&read[..length], bytes);
        assert!(read.len() == length.next_multiple_of(4) && read[length..].iter().all(|byte| *byte == 0), "{read:?}");
    }
    Ok(())
}

fn kernels(device: &Device) -> Outcome {
    assert_eq!(device.pipelines(), 0);
    let test = pollster::block_on(check::self_test(device))?;
    assert_eq!((device.pipelines(), test.kernels), (test.kernels, bitsmith::kernel::ALL.len()));
    Ok(())
}
