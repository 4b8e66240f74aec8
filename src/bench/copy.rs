//! How fast a device copies memory: what the bandwidth of kernels is set against.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;

use super::timing::Effort;
use crate::device::Device;
use crate::error::Result;

/// The bandwidth of a plain copy. Bytes count twice: once read, once written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Copy {
    /// 10^9 bytes a second.
    pub gb_s: f64,
    /// Bytes of the buffer that is copied.
    pub bytes: usize,
    /// What copies.
    pub by: &'static str,
    /// On the CPU also the rate of a sum over the buffer, which only reads: 10^9 bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum_gb_s: Option<f64>,
}

/// Elements that one thread takes at a time on the CPU.
const CHUNK: usize = 1 << 16;

/// Copies a buffer that no cache holds, and takes the fastest of some passes.
pub(super) fn copy(device: &Device, effort: &Effort) -> Result<Copy> {
    match device {
        Device::Cpu(_) => Ok(cpu(effort)),
        #[cfg(feature = "wgpu")]
        Device::Wgpu(gpu) => wgpu(device, gpu, effort),
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => cuda(device, gpu, effort),
    }
}

fn cpu(effort: &Effort) -> Copy {
    let from = vec![1u32; effort.working_set / 4];
    let mut to = vec![0u32; from.len()];
    let bytes = effort.working_set;
    let copy = fastest(effort, || {
        to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut to);
    });
    let sum = fastest(effort, || {
        let sums = from.par_chunks(CHUNK).map(|chunk| chunk.iter().fold(0u32, |sum, x| sum.wrapping_add(*x)));
        black_box(sums.sum::<u32>());
    });
    let rate = |bytes: usize, seconds: f64| bytes as f64 / seconds / 1e9;
    Copy { gb_s: rate(2 * bytes, copy), bytes, by: "a copy by all threads", sum_gb_s: Some(rate(bytes, sum)) }
}

#[cfg(feature = "wgpu")]
fn wgpu(device: &Device, gpu: &crate::device::wgpu::WgpuDevice, effort: &Effort) -> Result<Copy> {
    use super::timing::finished;
    use wgpu::BufferUsages;

    /// Copies of one submission, so that submitting and waiting hardly count.
    const COPIES: u32 = 8;
    let bytes = device.caps().max_buffer_bytes.min(effort.working_set as u64);
    // The largest buffer need not be a multiple of a word, which a copy must be.
    let bytes = bytes / 4 * 4;
    let [from, to] = [(); 2].map(|()| {
        gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("copy"),
            size: bytes,
            usage: BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    });
    let mut failed = None;
    let seconds = fastest(effort, || {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for turn in 0..COPIES {
            let (from, to) = if turn % 2 == 0 { (&from, &to) } else { (&to, &from) };
            encoder.copy_buffer_to_buffer(from, 0, to, 0, bytes);
        }
        gpu.queue().submit([encoder.finish()]);
        failed = finished(gpu, device).err().or(failed.take());
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(Copy {
            gb_s: 2.0 * bytes as f64 * f64::from(COPIES) / seconds / 1e9,
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            by: "the device's own copy of a buffer",
            sum_gb_s: None,
        }),
    }
}

#[cfg(feature = "cuda")]
fn cuda(device: &Device, gpu: &crate::device::cuda::CudaDevice, effort: &Effort) -> Result<Copy> {
    /// Copies of one pass, so that waiting hardly counts.
    const COPIES: u32 = 8;
    let bytes = effort.working_set;
    let (from, to) = (device.alloc(bytes)?, device.alloc(bytes)?);
    let mut failed = None;
    let seconds = fastest(effort, || {
        let turns = (0..COPIES).map(|turn| if turn % 2 == 0 { (&from, &to) } else { (&to, &from) });
        let done = turns.into_iter().try_for_each(|(from, to)| gpu.copy(from, to)).and_then(|()| gpu.finish());
        failed = done.err().or(failed.take());
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(Copy {
            gb_s: 2.0 * bytes as f64 * f64::from(COPIES) / seconds / 1e9,
            bytes,
            by: "the device's own copy of a buffer",
            sum_gb_s: None,
        }),
    }
}

/// Seconds of the fastest pass; the first only warms up.
fn fastest(effort: &Effort, mut pass: impl FnMut()) -> f64 {
    let seconds = |_| {
        let start = Instant::now();
        pass();
        start.elapsed().as_secs_f64()
    };
    (0..=effort.samples).map(seconds).skip(1).fold(f64::INFINITY, f64::min)
}
