//! Wall time of one dispatch: the median over samples of many dispatches each, so that submitting and waiting do not
//! count.

use std::time::Instant;

use crate::check::{Case, Scale};
use crate::device::{Device, Recorder, Recording};
#[cfg(feature = "wgpu")]
use crate::error::Error;
use crate::error::Result;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Samples of a case, unless one takes longer than all of them should.
    pub(super) samples: usize,
    /// Seconds of a sample.
    pub(super) sample: f64,
    /// Dispatches take turns on as many copies of their buffers as it takes to fill this, so that no cache holds them.
    pub(super) working_set: usize,
}

/// Samples that take longer than usual are fewer, so that a case takes about this many times what it should.
const PATIENCE: f64 = 4.0;
/// Most copies of a case's buffers.
const MOST_COPIES: usize = 64;
/// Most dispatches in one submission: drivers take seconds over very long ones.
const MOST_DISPATCHES: f64 = 4096.0;

impl Effort {
    /// What a scale deserves.
    pub(super) fn of(scale: Scale) -> Self {
        match scale {
            Scale::Full => Self { samples: 9, sample: 0.05, working_set: 512 << 20 },
            Scale::Quick => Self { samples: 3, sample: 0.005, working_set: 16 << 20 },
        }
    }
}

/// Seconds of one dispatch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) median: f64,
    pub(super) fastest: f64,
    pub(super) slowest: f64,
    pub(super) samples: usize,
    /// Dispatches of a sample.
    pub(super) dispatches: usize,
    /// Copies of the buffers.
    pub(super) copies: usize,
}

/// Times a case on a device.
pub(super) fn time(device: &Device, case: &Case, effort: &Effort) -> Result<Timing> {
    let copies = effort.working_set.div_ceil(case.bytes).clamp(1, MOST_COPIES);
    let sets = (0..copies).map(|_| case.upload(device)).collect::<Result<Vec<_>>>()?;
    let mut turns = (0..copies).cycle();
    let mut sample = |dispatches: usize| -> Result<f64> {
        let mut recorder = Recorder::new(device);
        for turn in turns.by_ref().take(dispatches) {
            case.dispatch(&mut recorder, &sets[turn])?;
        }
        Ok(seconds(device, recorder.finish())? / dispatches as f64)
    };
    // Compiles, and brings uploads to their end.
    sample(1)?;
    let mut dispatches = 1;
    let mut each = sample(dispatches)?;
    // The first estimate contains the wait; the second hardly does, and warms up.
    for _ in 0..2 {
        dispatches = (effort.sample / each).clamp(1.0, MOST_DISPATCHES) as usize;
        if dispatches > 1 {
            each = sample(dispatches)?;
        }
    }
    let affordable = PATIENCE * effort.sample * effort.samples as f64 / (each * dispatches as f64);
    let samples = (affordable as usize).clamp(1, effort.samples);
    let mut found = (0..samples).map(|_| sample(dispatches)).collect::<Result<Vec<_>>>()?;
    found.sort_by(f64::total_cmp);
    Ok(Timing {
        median: found[samples / 2],
        fastest: found[0],
        slowest: found[samples - 1],
        samples,
        dispatches,
        copies,
    })
}

/// From submission to the end of the work. Encoding it does not count.
fn seconds(device: &Device, recording: Recording) -> Result<f64> {
    match device {
        Device::Cpu(_) => {
            let start = Instant::now();
            device.submit(recording)?;
            Ok(start.elapsed().as_secs_f64())
        }
        #[cfg(feature = "wgpu")]
        Device::Wgpu(gpu) => {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            gpu.encode(&recording, &mut encoder)?;
            let commands = encoder.finish();
            let start = Instant::now();
            gpu.queue().submit([commands]);
            finished(gpu, device)?;
            Ok(start.elapsed().as_secs_f64())
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => {
            gpu.finish()?;
            let start = Instant::now();
            device.submit(recording)?;
            gpu.finish()?;
            Ok(start.elapsed().as_secs_f64())
        }
    }
}

/// Waits for everything that was submitted to a GPU.
#[cfg(feature = "wgpu")]
pub(super) fn finished(gpu: &crate::device::wgpu::WgpuDevice, device: &Device) -> Result<()> {
    let failed = |e: wgpu::PollError| Error::Device { device: device.caps().name.clone(), detail: e.to_string() };
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).map(drop).map_err(failed)
}
