//! Statistics of each column, carried on from batch to batch: smallest and largest value, mean, and the sum of squared
//! distances from the mean.
//!
//! Within a batch by Welford's recurrence, `mean += (x - mean) / k`, `m2 += (x - old mean) (x - mean)`; with those of the
//! rows before it by Chan's formula. So the errors grow with neither the mean nor the number of batches.
//!
//! Bindings: x `[rows, cols]`, f32; state `[4, cols]`, f32: smallest, largest, mean, m2. A NaN makes the mean one.

use bytemuck::{Pod, Zeroable};

use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct ColumnStats;

/// The batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Rows of the batches before; of none, the state is not read.
    pub before: u32,
}

const WG: u32 = 64;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for ColumnStats {
    type Params = Params;
    const NAME: &'static str = "column_stats";
    const ACCESS: &'static [Access] = &[Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/column_stats.wgsl");
    const PTX: Option<&'static str> = super::ptx!("column_stats");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::column_stats::column_stats);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.cols as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, mut state] = bindings.take();
        let (rows, cols) = (p.rows as usize, p.cols as usize);
        for col in 0..cols {
            let mut batch = [f32::MAX, f32::MIN, 0.0, 0.0];
            for row in 0..rows {
                enter(&mut batch, x.f32()[row * cols + col], 1.0 / (row + 1) as f32);
            }
            let state = state.f32_mut();
            let at: [usize; 4] = std::array::from_fn(|k| k * cols + col);
            if p.before > 0 {
                batch = merged(p, at.map(|i| state[i]), batch);
            }
            at.iter().zip(batch).for_each(|(i, value)| state[*i] = value);
        }
    }
}

/// Enters a value; `share` is one over the number of values with it.
#[inline(always)]
pub(super) fn enter([least, most, mean, m2]: &mut [f32; 4], x: f32, share: f32) {
    *least = if x < *least { x } else { *least };
    *most = if x > *most { x } else { *most };
    let away = x - *mean;
    *mean += away * share;
    *m2 += away * (x - *mean);
}

/// The statistics of the batches before and of this one together.
#[inline(always)]
pub(super) fn merged(p: &Params, before: [f32; 4], batch: [f32; 4]) -> [f32; 4] {
    let share = p.rows as f32 / (p.before as f32 + p.rows as f32);
    let away = batch[2] - before[2];
    let least = if before[0] < batch[0] { before[0] } else { batch[0] };
    let most = if before[1] > batch[1] { before[1] } else { batch[1] };
    let m2 = before[3] + (batch[3] + away * away * (p.before as f32 * share));
    [least, most, before[2] + away * share, m2]
}
