//! Attention over a cache of keys and values.

use super::attention_backward::AttentionAdjoint;
use super::{Activations, RowCache, choose};
use crate::device::{Device, Recorder};
use crate::error::{Error, Result};
use crate::kernel::attention::{self as kernel, Attention, MAX_HEAD_DIM};

/// Keys and values of the positions that a layer has seen.
#[derive(Clone, Debug)]
pub struct KvCache {
    /// The keys, `[sequences, capacity, kv_heads * head_dim]`.
    pub keys: RowCache,
    /// The values, of the same shape.
    pub values: RowCache,
}

impl KvCache {
    /// An empty cache; `width` is key heads times features of a head.
    ///
    /// # Errors
    /// Those of [`RowCache::new`].
    pub fn new(device: &Device, sequences: usize, capacity: usize, width: usize) -> Result<Self> {
        let rows = || RowCache::new(device, sequences, capacity, width);
        Ok(Self { keys: rows()?, values: rows()? })
    }
}

/// How queries and cache are divided into heads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Sequences among the rows of the queries; the first ones of the cache.
    pub sequences: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads, a divisor of the query heads.
    pub kv_heads: usize,
    /// Features of a head, at most [`MAX_HEAD_DIM`].
    pub head_dim: usize,
    /// Positions before the first query, the same in every sequence.
    pub past: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Keys that a query sees at most, its own included.
    pub window: Option<usize>,
}

/// Causal attention: queries `[sequences * tokens, heads * head_dim]` over the cache, which must already hold the keys
/// and values of positions up to `past + tokens`. The result has the shape of the queries.
///
/// # Errors
/// [`Error::Shape`] if queries, cache and shape do not fit together, [`Error::Unsupported`] for larger heads than a
/// workgroup can hold.
pub fn attention(rec: &mut Recorder, q: &Activations, cache: &KvCache, shape: &AttentionShape) -> Result<Activations> {
    let AttentionShape { sequences, heads, kv_heads, head_dim, past, scale, window } = *shape;
    let tokens = q.rows.checked_div(sequences).unwrap_or(0);
    expect(heads > 0 && kv_heads > 0 && heads.is_multiple_of(kv_heads), "query heads a multiple of key heads", || {
        format!("{heads} and {kv_heads}")
    })?;
    expect(tokens > 0 && q.rows == sequences * tokens, "rows that divide into sequences", || {
        format!("{} rows, {sequences} sequences", q.rows)
    })?;
    expect(head_dim > 0 && q.cols == heads * head_dim, "heads * head_dim query columns", || {
        format!("{} columns, {heads} heads of {head_dim}", q.cols)
    })?;
    expect(cache.keys.cols == kv_heads * head_dim, "kv_heads * head_dim cache columns", || {
        format!("{} columns, {kv_heads} heads of {head_dim}", cache.keys.cols)
    })?;
    expect(
        sequences <= cache.keys.sequences && past + tokens <= cache.keys.capacity,
        "a cache that holds every position",
        || {
            let (held, capacity) = (cache.keys.sequences, cache.keys.capacity);
            format!("{held} sequences of {capacity} positions for {sequences} of {past} + {tokens}")
        },
    )?;
    expect(window != Some(0), "a window of at least one key", || "0".into())?;
    if head_dim > MAX_HEAD_DIM {
        return Err(Error::Unsupported {
            what: format!("attention with {head_dim} features a head"),
            remedy: format!("use a model with at most {MAX_HEAD_DIM}"),
        });
    }
    let params = kernel::Params {
        sequences: word(sequences)?,
        tokens: word(tokens)?,
        heads: word(heads)?,
        kv_heads: word(kv_heads)?,
        head_dim: word(head_dim)?,
        past: word(past)?,
        capacity: word(cache.keys.capacity)?,
        scale,
        // A window beyond all positions hides nothing.
        window: window.and_then(|w| u32::try_from(w).ok()).unwrap_or(0),
    };
    let out = Activations { buffer: rec.alloc(q.rows * q.cols * size_of::<f32>())?, rows: q.rows, cols: q.cols };
    let variant = kernel::variant(choose::reduce(rec.device().caps()));
    rec.dispatch::<Attention>(&params, variant, &[&q.buffer, &cache.keys.buffer, &cache.values.buffer, &out.buffer])?;
    let adjoint = || AttentionAdjoint { q: q.clone(), cache: cache.clone(), params, y: out.buffer.id() };
    rec.keep(&[&q.buffer, &cache.keys.buffer, &cache.values.buffer], &[&out.buffer], adjoint);
    Ok(out)
}

fn expect(holds: bool, expected: &str, found: impl Fn() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Shape { op: "attention", expected: expected.into(), found: found() }) }
}

fn word(size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| Error::Shape {
        op: "attention",
        expected: "sizes below 2^32".into(),
        found: size.to_string(),
    })
}
