//! Recycling of device memory by size class, under a cap.

use std::collections::BTreeMap;
#[cfg(feature = "wgpu")]
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::buffer::{Buffer, Lease, Raw};
use crate::error::{Error, Result};

/// Buffer memory of a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryStats {
    /// Taken from the device, lent or waiting to be reused.
    pub allocated: u64,
    /// The most that was ever taken.
    pub peak: u64,
    /// What may be taken at most.
    pub cap: u64,
    /// Buffers taken from the device so far.
    pub created: u64,
}

/// Memory that waits to be reused, by size class and the order in which it was created. The oldest is lent first: work that
/// asks for the same sizes again finds the same memory, so that what a device keeps of a launch still holds.
#[derive(Debug, Default)]
pub(super) struct FreeList(Mutex<BTreeMap<u64, BTreeMap<u64, Raw>>>);

impl FreeList {
    pub(super) fn put(&self, class: u64, age: u64, raw: Raw) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(class).or_default().insert(age, raw);
    }

    fn pop(&self, class: u64) -> Option<(u64, Raw)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&class)?.pop_first()
    }

    /// Empties the list and tells how much it held.
    fn drain(&self) -> BTreeMap<u64, BTreeMap<u64, Raw>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Moves everything to another list.
    pub(super) fn move_to(&self, other: &Self) {
        for (class, raws) in self.drain() {
            raws.into_iter().for_each(|(age, raw)| other.put(class, age, raw));
        }
    }
}

/// The memory of one device.
#[derive(Debug)]
pub(super) struct Pool {
    free: Arc<FreeList>,
    allocated: AtomicU64,
    peak: AtomicU64,
    cap: AtomicU64,
    created: AtomicU64,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            free: Arc::default(),
            allocated: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            cap: AtomicU64::new(u64::MAX),
            created: AtomicU64::new(0),
        }
    }

    /// Where this pool's memory waits to be reused.
    pub(super) fn free(&self) -> &Arc<FreeList> {
        &self.free
    }

    /// An error unless `memory` returns to this pool; `device` names its owner.
    pub(super) fn check_own(&self, memory: &Arc<FreeList>, device: &str) -> Result<()> {
        if Arc::ptr_eq(&self.free, memory) {
            return Ok(());
        }
        let detail = "memory of another device cannot be used here; upload to, and record for, this one".to_owned();
        Err(Error::Device { device: device.to_owned(), detail })
    }

    pub(super) fn set_cap(&self, bytes: u64) {
        self.cap.store(bytes, Relaxed);
    }

    pub(super) fn stats(&self) -> MemoryStats {
        MemoryStats {
            allocated: self.allocated.load(Relaxed),
            peak: self.peak.load(Relaxed),
            cap: self.cap.load(Relaxed),
            created: self.created.load(Relaxed),
        }
    }

    /// A buffer of at least `bytes`: from the recording's own list, from the pool, or newly created.
    pub(super) fn take(
        &self,
        bytes: usize,
        nearest: Option<&Arc<FreeList>>,
        create: &dyn Fn(u64) -> Result<Raw>,
    ) -> Result<Buffer> {
        let bytes = bytes.next_multiple_of(4).max(4);
        let class = size_class(bytes as u64);
        let reused = nearest.and_then(|list| list.pop(class)).or_else(|| self.free.pop(class));
        let (age, raw) = match reused {
            Some(reused) => reused,
            None => self.create(class, create)?,
        };
        let nearest = nearest.map(Arc::downgrade).unwrap_or_default();
        let (class, pool, number) = (Some(class), self.free.clone(), Lease::next_number());
        Ok(Buffer { lease: Arc::new(Lease { raw, class, age, nearest, pool, number }), offset: 0, bytes })
    }

    /// A buffer over memory that the caller keeps.
    #[cfg(feature = "wgpu")]
    pub(super) fn adopt(&self, raw: Raw, bytes: usize) -> Buffer {
        let (pool, number) = (self.free.clone(), Lease::next_number());
        let lease = Lease { raw, class: None, age: 0, nearest: Weak::new(), pool, number };
        Buffer { lease: Arc::new(lease), offset: 0, bytes }
    }

    fn create(&self, class: u64, create: &dyn Fn(u64) -> Result<Raw>) -> Result<(u64, Raw)> {
        self.check_room(class)?;
        let raw = match create(class) {
            // The device may have room once it has back what is idle here.
            Err(Error::Device { .. }) if self.trim() > 0 => create(class)?,
            created => created?,
        };
        let age = self.created.fetch_add(1, Relaxed);
        let now = self.allocated.fetch_add(class, Relaxed) + class;
        self.peak.fetch_max(now, Relaxed);
        Ok((age, raw))
    }

    /// An error if so many bytes more are over the cap.
    pub(super) fn check_room(&self, bytes: u64) -> Result<()> {
        let cap = self.cap.load(Relaxed);
        if self.allocated.load(Relaxed).saturating_add(bytes) > cap {
            self.trim();
        }
        let wanted = self.allocated.load(Relaxed).saturating_add(bytes);
        if wanted > cap {
            return Err(Error::Limit { what: "device memory (cap set by the caller)".into(), wanted, allowed: cap });
        }
        Ok(())
    }

    /// Gives memory that nobody uses back to the device, and tells how much that was.
    fn trim(&self) -> u64 {
        let freed: u64 = self.free.drain().into_iter().map(|(class, raws)| class * raws.len() as u64).sum();
        self.allocated.fetch_sub(freed, Relaxed);
        freed
    }
}

/// Four classes to an octave: at most a quarter of a buffer is unused, and sizes recur often enough to be reused.
fn size_class(bytes: u64) -> u64 {
    let step = (bytes.next_power_of_two() / 8).max(256);
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::device::{CpuMemory, Device};

    #[test]
    fn a_class_wastes_at_most_a_quarter_above_the_smallest() {
        for bytes in (4..100_000).step_by(4).chain([1 << 30, (1 << 30) + 4]) {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(4), "{bytes} -> {class}");
            assert!(class <= 256 || class - bytes <= bytes / 4 + 256, "{bytes} -> {class}");
        }
    }

    #[test]
    fn memory_is_reused_and_capped() -> Result<()> {
        let pool = Pool::new();
        let create = |bytes| Ok(Raw::Cpu(Arc::new(CpuMemory::zeroed(bytes).expect("a few bytes"))));
        drop(pool.take(1000, None, &create)?);
        let held = pool.take(1000, None, &create)?;
        assert_eq!(pool.stats().created, 1);
        pool.set_cap(pool.stats().allocated);
        assert!(matches!(pool.take(1000, None, &create), Err(Error::Limit { .. })));
        drop(held);
        // The idle buffer of another class is given up to make room.
        assert!(pool.take(500, None, &create).is_ok());
        Ok(())
    }

    #[test]
    fn idle_memory_makes_room_on_a_full_device() -> Result<()> {
        let pool = Pool::new();
        let given = RefCell::new(Vec::new());
        // A device that has room for two.
        let create = |bytes| {
            let mut given = given.borrow_mut();
            given.retain(|memory| std::sync::Weak::strong_count(memory) > 0);
            if given.len() == 2 {
                return Err(Error::Device { device: "full".into(), detail: "out of memory".into() });
            }
            let memory = Arc::new(CpuMemory::zeroed(bytes).expect("a few bytes"));
            given.push(Arc::downgrade(&memory));
            Ok(Raw::Cpu(memory))
        };
        let small = pool.take(1024, None, &create)?;
        drop(pool.take(2048, None, &create)?);
        let large = pool.take(4096, None, &create)?;
        assert_eq!((pool.stats().created, pool.stats().allocated), (3, 1024 + 4096));
        // Nothing is idle.
        assert!(matches!(pool.take(2048, None, &create), Err(Error::Device { .. })));
        assert_eq!((pool.stats().created, pool.stats().allocated), (3, 1024 + 4096));
        drop((small, large));
        Ok(())
    }

    /// Whatever the order in which it came back.
    #[test]
    fn the_same_requests_find_the_same_memory() -> Result<()> {
        let device = Device::cpu();
        let mut first: Vec<_> = (0..3).map(|_| device.alloc(64)).collect::<Result<_>>()?;
        let raws: Vec<_> = first.iter().map(|buffer| buffer.raw().clone()).collect();
        first.swap(0, 2);
        drop(first);
        let again: Vec<_> = (0..3).map(|_| device.alloc(64)).collect::<Result<_>>()?;
        assert!(again.iter().zip(&raws).all(|(buffer, raw)| buffer.raw().is(raw)));
        Ok(())
    }

    #[test]
    fn a_recording_reuses_what_it_dropped() -> Result<()> {
        let device = Device::cpu();
        let recorder = crate::device::Recorder::new(&device);
        drop(recorder.alloc(64)?);
        drop(recorder.alloc(64)?);
        assert_eq!(device.memory().created, 1);
        Ok(())
    }
}
