//! Keys or values of the tokens seen so far.

use super::Activations;
use super::attention_backward::{StoreRowsAdjoint, fills};
use super::checks::{matrix, shape, size};
use crate::device::{Buffer, Device, Recorder};
use crate::error::Result;
use crate::kernel::store_rows::{self, Params, StoreRows};

/// Rows kept per sequence: f32, row-major `[sequences, capacity, cols]`, filled slot by slot.
#[derive(Clone, Debug)]
pub struct RowCache {
    /// The values; slots not stored yet hold anything.
    pub buffer: Buffer,
    /// Sequences.
    pub sequences: usize,
    /// Slots of a sequence.
    pub capacity: usize,
    /// Elements of a row.
    pub cols: usize,
}

impl RowCache {
    /// An empty cache.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if a size is zero or all of it exceeds 2^32 elements; as the device
    /// refuses memory.
    pub fn new(device: &Device, sequences: usize, capacity: usize, cols: usize) -> Result<Self> {
        let elements = sequences.saturating_mul(capacity).saturating_mul(cols);
        if elements == 0 {
            return Err(shape("cache", "sizes above zero", format!("{sequences} x {capacity} x {cols}")));
        }
        size("cache", elements)?;
        Ok(Self { buffer: device.alloc(elements * 4)?, sequences, capacity, cols })
    }

    /// Sizes for a kernel that writes `x` to slots `first..`, as `[sequences, tokens, capacity, first]`.
    pub(super) fn slots(&self, op: &'static str, x: &Activations, first: usize) -> Result<[u32; 4]> {
        matrix(op, x)?;
        let tokens = x.rows / self.sequences.max(1);
        let needed = self.sequences.saturating_mul(self.capacity).saturating_mul(self.cols);
        if needed == 0 || self.buffer.bytes() / 4 < needed {
            return Err(shape(
                op,
                format!("a cache of {needed} values, not 0"),
                format!("{} bytes", self.buffer.bytes()),
            ));
        }
        if tokens * self.sequences != x.rows || x.cols != self.cols {
            let expected = format!("the same number of rows for {} sequences, {} columns", self.sequences, self.cols);
            return Err(shape(op, expected, format!("{} x {}", x.rows, x.cols)));
        }
        if first.saturating_add(tokens) > self.capacity {
            let found = format!("{tokens} tokens from slot {first} on");
            return Err(shape(op, format!("no more than {} slots", self.capacity), found));
        }
        size(op, needed)?;
        Ok([size(op, self.sequences)?, size(op, tokens)?, size(op, self.capacity)?, size(op, first)?])
    }
}

/// Stores rows `[sequences * tokens, cols]` in slots `first..first + tokens` of each sequence.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the rows do not fit the cache.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations, RowCache}};
/// let device = Device::cpu();
/// let cache = RowCache::new(&device, 1, 8, 2)?;
/// let values = Activations::upload(&device, 3, 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// let mut recorder = Recorder::new(&device);
/// op::store_rows(&mut recorder, &values, &cache, 2)?;
/// recorder.submit()?;
/// assert_eq!(pollster::block_on(device.read::<f32>(&cache.buffer))?[4..6], [1.0, 2.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
pub fn store_rows(rec: &mut Recorder, x: &Activations, cache: &RowCache, first: usize) -> Result<()> {
    let [sequences, tokens, capacity, first] = cache.slots("store_rows", x, first)?;
    let params = Params { sequences, tokens, cols: size("store_rows", x.cols)?, capacity, first };
    rec.dispatch::<StoreRows>(&params, store_rows::variant(), &[&x.buffer, &cache.buffer])?;
    fills(rec, x, cache, first as usize)?;
    rec.keep(&[&x.buffer], &[&cache.buffer], || StoreRowsAdjoint { x: x.buffer.id(), cache: cache.buffer.id() });
    Ok(())
}
