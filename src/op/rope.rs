//! Rotary position embedding.

use super::attention_backward::{RopeAdjoint, fills};
use super::checks::{matrix, shape, size};
use super::{Activations, RowCache};
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::io::{RopeConfig, RopeScaling};
use crate::kernel::rope::{self as kernel, Params};

/// Angle per position of each pair of a head: `head_dim / 2` values, computed in f64 and rounded once, as models are
/// trained with f32 frequencies.
///
/// # Errors
/// [`Error::Config`] naming the parameter that is out of range.
///
/// ```
/// use bitsmith::{io::{RopeConfig, RopeScaling}, op::inverse_frequencies};
/// let rope = RopeConfig { theta: 10_000.0, scaling: RopeScaling::None };
/// assert_eq!(inverse_frequencies(4, &rope)?, [1.0, 0.01]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
pub fn inverse_frequencies(head_dim: usize, rope: &RopeConfig) -> Result<Vec<f32>> {
    if head_dim == 0 || !head_dim.is_multiple_of(2) {
        return Err(Error::config("head_dim", format!("{head_dim}: rotary embedding needs an even number above 0")));
    }
    positive("rope_theta", rope.theta)?;
    rope.scaling.check()?;
    let plain = (0..head_dim / 2).map(|i| rope.theta.powf(-((2 * i) as f64) / head_dim as f64));
    Ok(plain.map(|frequency| rope.scaling.apply(frequency) as f32).collect())
}

impl RopeScaling {
    fn check(self) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Linear { factor } => positive("rope_scaling.factor", factor),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                positive("rope_scaling.factor", factor)?;
                positive("rope_scaling.low_freq_factor", low_freq_factor)?;
                positive("rope_scaling.high_freq_factor", high_freq_factor)?;
                if high_freq_factor <= low_freq_factor {
                    let detail = format!("{high_freq_factor} must be above low_freq_factor, {low_freq_factor}");
                    return Err(Error::config("rope_scaling.high_freq_factor", detail));
                }
                positive("rope_scaling.original_max_position_embeddings", original_max_position_embeddings as f64)
            }
        }
    }

    fn apply(self, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let wavelength = std::f64::consts::TAU / frequency;
                let turns = original_max_position_embeddings as f64 / wavelength;
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                kept * frequency + (1.0 - kept) * frequency / factor
            }
        }
    }
}

fn positive(field: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::config(field, format!("{value}: a finite number above 0 is needed")))
}

/// Cosine and sine of every angle a context needs, f32 `[positions, head_dim / 2, 2]`. Computed once on the host in f64,
/// since shaders may be off by 2^-11 in either and by more for large angles.
#[derive(Clone, Debug)]
pub struct RopeTable {
    buffer: Buffer,
    head_dim: usize,
    positions: usize,
}

impl RopeTable {
    /// The table for positions `0..max_positions`.
    ///
    /// # Errors
    /// As [`inverse_frequencies`], and as the device refuses memory.
    #[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
    pub fn new(device: &Device, head_dim: usize, rope: &RopeConfig, max_positions: usize) -> Result<Self> {
        let frequencies = inverse_frequencies(head_dim, rope)?;
        if max_positions == 0 {
            return Err(Error::config("max_position_embeddings", "0: at least one position is needed"));
        }
        size("rope table", max_positions.saturating_mul(head_dim))?;
        let mut values = Vec::new();
        values.try_reserve_exact(max_positions * head_dim).map_err(|_| {
            Error::config(
                "context",
                format!("{max_positions} positions need more memory than there is; take fewer tokens"),
            )
        })?;
        for position in 0..max_positions {
            for frequency in &frequencies {
                let (sin, cos) = (position as f64 * f64::from(*frequency)).sin_cos();
                values.extend([cos as f32, sin as f32]);
            }
        }
        Ok(Self { buffer: device.upload(&values)?, head_dim, positions: max_positions })
    }

    /// The values.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Elements of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Heads of a row, if tokens `first..first + tokens` are in the table.
    fn heads(&self, cols: usize, first: usize, tokens: usize) -> Result<u32> {
        if !cols.is_multiple_of(self.head_dim) {
            return Err(shape("rope", format!("rows of whole heads of {} elements", self.head_dim), cols));
        }
        if first.saturating_add(tokens) > self.positions {
            let found = format!("{tokens} tokens from position {first} on");
            return Err(shape("rope", format!("no more than {} positions", self.positions), found));
        }
        size("rope", cols / self.head_dim)
    }
}

/// Turns the heads of x, `[sequences * tokens, heads * head_dim]`; each sequence starts at `first_position`.
///
/// # Errors
/// [`Error::Shape`] if rows are not whole heads of the table, not the same number for each sequence, or beyond the
/// table's positions.
pub fn rope(
    rec: &mut Recorder,
    x: &Activations,
    table: &RopeTable,
    sequences: usize,
    first_position: usize,
) -> Result<Activations> {
    matrix("rope", x)?;
    if sequences == 0 || !x.rows.is_multiple_of(sequences) {
        return Err(shape("rope", format!("the same number of rows for {sequences} sequences"), x.rows));
    }
    let out =
        RowCache { buffer: rec.alloc(x.rows * x.cols * 4)?, sequences, capacity: x.rows / sequences, cols: x.cols };
    turn(rec, x, table, &out, first_position, 0, FORWARD)?;
    Ok(Activations { buffer: out.buffer, ..*x })
}

/// [`rope`] by the opposite angles: its inverse, and its gradient.
pub(super) fn turned_back(
    rec: &mut Recorder,
    x: &Activations,
    table: &RopeTable,
    sequences: usize,
    first_position: usize,
) -> Result<Activations> {
    let capacity = x.rows.checked_div(sequences).unwrap_or(0);
    let out = RowCache { buffer: rec.alloc(x.rows * x.cols * 4)?, sequences, capacity, cols: x.cols };
    turn(rec, x, table, &out, first_position, 0, BACK)?;
    Ok(Activations { buffer: out.buffer, ..*x })
}

/// Factors of the angles.
const FORWARD: f32 = 1.0;
const BACK: f32 = -1.0;

/// [`rope`] straight into a cache: each token goes to the slot of its position.
///
/// # Errors
/// As [`rope`], and if the rows do not fit the cache.
pub fn rope_into(
    rec: &mut Recorder,
    x: &Activations,
    table: &RopeTable,
    cache: &RowCache,
    first_position: usize,
) -> Result<()> {
    fills(rec, x, cache, first_position)?;
    turn(rec, x, table, cache, first_position, first_position, FORWARD)
}

fn turn(
    rec: &mut Recorder,
    x: &Activations,
    table: &RopeTable,
    out: &RowCache,
    first_position: usize,
    first_slot: usize,
    direction: f32,
) -> Result<()> {
    let [sequences, tokens, out_capacity, out_first] = out.slots("rope", x, first_slot)?;
    let params = Params {
        sequences,
        tokens,
        heads: table.heads(x.cols, first_position, tokens as usize)?,
        head_dim: size("rope", table.head_dim)?,
        first_position: size("rope", first_position)?,
        out_capacity,
        out_first,
        direction,
    };
    rec.dispatch::<kernel::Rope>(&params, kernel::variant(), &[&x.buffer, &table.buffer, &out.buffer])?;
    rec.keep(&[&x.buffer], &[&out.buffer], || RopeAdjoint {
        x: x.buffer.id(),
        rows: x.rows,
        cols: x.cols,
        table: table.clone(),
        sequences: out.sequences,
        first_position,
        y: out.buffer.id(),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: RopeConfig = RopeConfig { theta: 10_000.0, scaling: RopeScaling::None };

    fn activations(device: &Device, rows: usize, cols: usize) -> Activations {
        let values: Vec<f32> = (0..rows * cols).map(|i| (i as f32 * 0.7).sin()).collect();
        Activations::upload(device, rows, cols, &values).unwrap()
    }

    fn read(device: &Device, buffer: &Buffer) -> Vec<f32> {
        pollster::block_on(device.read(buffer)).unwrap()
    }

    /// Tokens of two sequences, one after the other into a cache, become what they become all at once.
    #[test]
    fn a_cache_holds_what_rope_returns() {
        let device = Device::cpu();
        let table = RopeTable::new(&device, 4, &PLAIN, 9).unwrap();
        let (x, cache) = (activations(&device, 6, 8), RowCache::new(&device, 2, 5, 8).unwrap());
        let mut rec = Recorder::new(&device);
        let whole = rope(&mut rec, &x, &table, 2, 0).unwrap();
        rec.submit().unwrap();
        let values = read(&device, &x.buffer);
        for token in 0..3 {
            let rows = [&values[token * 8..][..8], &values[(3 + token) * 8..][..8]].concat();
            let mut rec = Recorder::new(&device);
            rope_into(&mut rec, &Activations::upload(&device, 2, 8, &rows).unwrap(), &table, &cache, token).unwrap();
            rec.submit().unwrap();
        }
        let (whole, cached) = (read(&device, &whole.buffer), read(&device, &cache.buffer));
        assert_eq!(cached[..24], whole[..24]);
        assert_eq!(cached[40..64], whole[24..]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let device = Device::cpu();
        let table = RopeTable::new(&device, 4, &PLAIN, 4).unwrap();
        let mut rec = Recorder::new(&device);
        let refused = |result: Result<Activations>| assert!(matches!(result, Err(Error::Shape { .. })));
        refused(rope(&mut rec, &activations(&device, 3, 6), &table, 1, 0));
        refused(rope(&mut rec, &activations(&device, 3, 8), &table, 2, 0));
        refused(rope(&mut rec, &activations(&device, 3, 8), &table, 0, 0));
        refused(rope(&mut rec, &activations(&device, 3, 8), &table, 1, 2));
        let cache = RowCache::new(&device, 1, 3, 8).unwrap();
        assert!(rope_into(&mut rec, &activations(&device, 2, 8), &table, &cache, 2).is_err());
        assert!(RowCache::new(&device, 1, usize::MAX, 8).is_err() && RowCache::new(&device, 0, 1, 8).is_err());
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let llama3 = |low_freq_factor, high_freq_factor| RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: 8192,
        };
        let cases = [
            (5, PLAIN, "head_dim"),
            (4, RopeConfig { theta: f64::NAN, ..PLAIN }, "rope_theta"),
            (4, RopeConfig { scaling: RopeScaling::Linear { factor: 0.0 }, ..PLAIN }, "factor"),
            (4, RopeConfig { scaling: llama3(4.0, 4.0), ..PLAIN }, "high_freq_factor"),
            (4, RopeConfig { scaling: llama3(-1.0, 4.0), ..PLAIN }, "low_freq_factor"),
        ];
        for (head_dim, rope, name) in cases {
            let error = inverse_frequencies(head_dim, &rope).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(RopeTable::new(&Device::cpu(), 4, &PLAIN, 0).is_err());
    }
}
