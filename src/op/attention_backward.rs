//! Gradients of attention, and of what goes through a cache to get there.

use super::checks::size;
use super::rope::RopeTable;
use super::{Activations, KvCache, RowCache, choose, rope};
use crate::device::{Adjoint, BufferId, Gradients, Recorder};
use crate::error::{Error, Result};
use crate::kernel::attention::{self as kernel, Params};
use crate::kernel::attention_backward_kv::{self, AttentionBackwardKv};
use crate::kernel::attention_backward_q::AttentionBackwardQ;

/// Attention over a cache.
#[derive(Debug)]
pub(super) struct AttentionAdjoint {
    pub(super) q: Activations,
    pub(super) cache: KvCache,
    pub(super) params: Params,
    pub(super) y: BufferId,
}

impl Adjoint for AttentionAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Self { q, cache: KvCache { keys, values }, params, y } = self;
        let Some(d_y) = gradients.take(*y) else { return Ok(()) };
        let d_q = rec.alloc(q.rows * q.cols * 4)?;
        let stats = rec.alloc(q.rows * params.heads as usize * 2 * 4)?;
        let variant = kernel::variant(choose::reduce(rec.device().caps()));
        let buffers = [&q.buffer, &keys.buffer, &values.buffer, &d_y, &d_q, &stats];
        rec.dispatch::<AttentionBackwardQ>(params, variant, &buffers)?;
        gradients.add(rec, &q.buffer, d_q)?;
        if gradients.wants(&keys.buffer) || gradients.wants(&values.buffer) {
            let elements = keys.sequences * keys.capacity * keys.cols;
            let (d_k, d_v) = (rec.alloc(elements * 4)?, rec.alloc(elements * 4)?);
            let buffers = [&q.buffer, &keys.buffer, &values.buffer, &d_y, &stats, &d_k, &d_v];
            rec.dispatch::<AttentionBackwardKv>(params, attention_backward_kv::variant(), &buffers)?;
            gradients.add(rec, &keys.buffer, d_k)?;
            gradients.add(rec, &values.buffer, d_v)?;
        }
        Ok(())
    }
}

/// Rows stored in a cache, which they fill.
#[derive(Debug)]
pub(super) struct StoreRowsAdjoint {
    pub(super) x: BufferId,
    pub(super) cache: BufferId,
}

impl Adjoint for StoreRowsAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(d_cache) = gradients.take(self.cache) else { return Ok(()) };
        gradients.add(rec, self.x, d_cache)
    }
}

/// An error if gradients are asked for and `tokens` from slot `first` on do not fill the cache: then its gradient is not
/// that of the rows.
pub(super) fn fills(rec: &Recorder, x: &Activations, cache: &RowCache, first: usize) -> Result<()> {
    if !rec.watches(&x.buffer) || (first == 0 && x.rows == cache.sequences * cache.capacity) {
        return Ok(());
    }
    let found = format!("{} rows from slot {first} on for {} x {}", x.rows, cache.sequences, cache.capacity);
    Err(Error::Shape { op: "gradient of a cache", expected: "rows that fill the cache".into(), found })
}

/// Rows turned by rotary angles, into a result or a cache that they fill.
#[derive(Debug)]
pub(super) struct RopeAdjoint {
    pub(super) x: BufferId,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) table: RopeTable,
    pub(super) sequences: usize,
    pub(super) first_position: usize,
    pub(super) y: BufferId,
}

impl Adjoint for RopeAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Self { x, rows, cols, table, sequences, first_position, y } = self;
        let Some(d_y) = gradients.take(*y) else { return Ok(()) };
        size("rope", rows * cols)?;
        let d_y = Activations { buffer: d_y, rows: *rows, cols: *cols };
        let d_x = rope::turned_back(rec, &d_y, table, *sequences, *first_position)?;
        gradients.add(rec, *x, d_x.buffer)
    }
}
