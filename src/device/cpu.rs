//! The processor as a device: runs each kernel's fast implementation, or its twin where there is none.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use super::caps::{Caps, DeviceKind};
use super::cpu_words::CpuWords;
use super::pool::Pool;
use super::profile::StepTime;
use super::recording::{Recording, Step};
use crate::dispatch::{Access, Bindings, ErasedRun, MAX_BINDINGS, View};
use crate::error::Result;

/// Words in main memory.
#[derive(Debug)]
pub struct CpuMemory {
    words: RwLock<CpuWords>,
    /// The first that is used; it begins a cache line, so that vectors do not cross two.
    first: usize,
}

impl CpuMemory {
    /// Zeros, or nothing where the system has no such memory.
    pub(super) fn zeroed(bytes: u64) -> Option<Self> {
        let (words, first) = CpuWords::zeroed(usize::try_from(bytes.div_ceil(4)).ok()?)?;
        Some(Self { words: RwLock::new(words), first })
    }

    /// Copies bytes to the front; the rest of the last word becomes zero.
    pub(super) fn fill(&self, bytes: &[u8]) {
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        let words = &mut words[self.first..];
        let (whole, rest) = bytes.split_at(bytes.len() / 4 * 4);
        bytemuck::must_cast_slice_mut::<u32, u8>(words)[..whole.len()].copy_from_slice(whole);
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            words[whole.len() / 4] = u32::from_ne_bytes(last);
        }
    }

    /// `length` bytes from `offset`.
    pub(super) fn bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
        bytemuck::must_cast_slice::<u32, u8>(&words[self.first..])[offset..][..length].to_vec()
    }
}

/// The processor.
#[derive(Debug)]
pub struct CpuDevice {
    pool: Pool,
    caps: Caps,
    submissions: AtomicU64,
}

impl CpuDevice {
    pub(super) fn new() -> Self {
        let threads = rayon::current_num_threads();
        let caps = Caps {
            name: format!("CPU, {threads} threads"),
            backend: "cpu".into(),
            driver: format!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
            kind: DeviceKind::Cpu,
            max_binding_bytes: isize::MAX as u64,
            max_buffer_bytes: isize::MAX as u64,
            ..Caps::portable()
        };
        Self { pool: Pool::new(), caps, submissions: AtomicU64::new(0) }
    }

    pub(super) fn caps(&self) -> &Caps {
        &self.caps
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Recordings run so far.
    pub(super) fn submissions(&self) -> u64 {
        self.submissions.load(Relaxed)
    }

    pub(super) fn submit(&self, recording: &Recording) -> Result<()> {
        self.submissions.fetch_add(1, Relaxed);
        let run = |step: Step<'_>| execute(step, |kernel, bindings| kernel(step.params, step.variant, bindings));
        recording.steps().try_for_each(run)
    }

    /// [`Self::submit`] with a clock around each kernel.
    pub(super) fn profile(&self, recording: &Recording) -> Result<Vec<StepTime>> {
        self.submissions.fetch_add(1, Relaxed);
        let timed = |step: Step<'_>| {
            let mut seconds = 0.0;
            execute(step, |kernel, bindings| {
                let start = Instant::now();
                kernel(step.params, step.variant, bindings);
                seconds = start.elapsed().as_secs_f64();
            })?;
            Ok(StepTime { kernel: step.spec.name, seconds })
        };
        recording.steps().map(timed).collect()
    }
}

/// Locks the memory of a step and hands it with the step's kernel to `run`.
fn execute(step: Step<'_>, run: impl FnOnce(ErasedRun, Bindings<'_>)) -> Result<()> {
    enum Guard<'a> {
        Read(std::sync::RwLockReadGuard<'a, CpuWords>, usize),
        Write(std::sync::RwLockWriteGuard<'a, CpuWords>, usize),
    }
    let mut guards = [const { None }; MAX_BINDINGS];
    for ((bound, access), guard) in step.buffers.iter().zip(step.spec.access).zip(&mut guards) {
        let CpuMemory { words, first } = bound.raw().cpu()?;
        let first = first + bound.offset / 4;
        *guard = Some(match access {
            Access::Read => Guard::Read(words.read().unwrap_or_else(PoisonError::into_inner), first),
            Access::Write | Access::ReadWrite => {
                Guard::Write(words.write().unwrap_or_else(PoisonError::into_inner), first)
            }
        });
    }
    let views = guards.iter_mut().flatten().zip(step.buffers).map(|(guard, bound)| match guard {
        Guard::Read(words, first) => View::Read(&words[*first..][..bound.bytes / 4]),
        Guard::Write(words, first) => View::Write(&mut words[*first..][..bound.bytes / 4]),
    });
    run(step.spec.fast.unwrap_or(step.spec.run), Bindings::new(views));
    Ok(())
}
