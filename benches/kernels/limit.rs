//! How fast a device moves memory: what times are measured against.

use std::hint::black_box;
use std::time::Instant;

use bitsmith::check::LargeCase;
use bitsmith::{Device, Error, Result};
use rayon::prelude::*;

use super::timing::{self, Effort};

/// Bytes per second, and how they were moved.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub gb_s: f64,
    pub by: &'static str,
}

/// Elements that one thread takes at a time on the CPU.
const CHUNK: usize = 1 << 16;

/// The most that a plain pass over memory reaches on the device.
pub fn memory(device: &Device, mut cases: impl Iterator<Item = LargeCase>, effort: &Effort) -> Result<Limit> {
    if matches!(device, Device::Cpu(_)) {
        return Ok(cpu(effort));
    }
    let sum =
        cases.find(|c| c.kernel == "add").ok_or_else(|| Error::config("bench", "the kernel `add` has no case"))?;
    let case = sum.build();
    pollster::block_on(case.check_large(device))?;
    let timing = timing::time(device, &case, effort)?;
    Ok(Limit { gb_s: case.bytes as f64 / timing.fastest / 1e9, by: "the kernel `add`: two streams in, one out" })
}

/// The CPU's kernels are what is measured, so a plain copy and a plain sum by all threads set the limit.
fn cpu(effort: &Effort) -> Limit {
    let from = vec![1u32; effort.working_set / 4];
    let mut to = vec![0u32; from.len()];
    let bytes = effort.working_set as f64;
    let copy = fastest(effort, || {
        to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut to);
    });
    let sum = fastest(effort, || {
        let sums = from.par_chunks(CHUNK).map(|chunk| chunk.iter().fold(0u32, |sum, x| sum.wrapping_add(*x)));
        black_box(sums.sum::<u32>());
    });
    let copy = Limit { gb_s: 2.0 * bytes / copy / 1e9, by: "a copy by all threads" };
    let sum = Limit { gb_s: bytes / sum / 1e9, by: "a sum by all threads" };
    if copy.gb_s > sum.gb_s { copy } else { sum }
}

fn fastest(effort: &Effort, mut pass: impl FnMut()) -> f64 {
    let seconds = |_| {
        let start = Instant::now();
        pass();
        start.elapsed().as_secs_f64()
    };
    (0..=effort.samples).map(seconds).fold(f64::INFINITY, f64::min)
}
