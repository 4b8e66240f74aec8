//! Fast [`column_stats`](crate::kernel::column_stats).

use rayon::prelude::*;

use super::{LANES, rows};
use crate::dispatch::{Bindings, Variant};
use crate::kernel::column_stats::{Params, enter, merged};

/// [`Kernel::run`](crate::dispatch::Kernel::run) of column_stats.
pub fn column_stats(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, mut state] = bindings.take();
    let (count, cols) = (p.rows as usize, p.cols as usize);
    let (x, state) = (&x.f32()[..count * cols], state.f32_mut());
    let shares: Vec<f32> = (0..count).map(|row| 1.0 / (row + 1) as f32).collect();
    // Whole lines of memory, so that tasks do not share any.
    let panel = rows::per_task(count).next_multiple_of(LANES);
    let found: Vec<Vec<[[f32; LANES]; 4]>> = (0..cols.div_ceil(panel))
        .into_par_iter()
        .map(|task| {
            let first = task * panel;
            batch(x, cols, first, panel.min(cols - first), &shares)
        })
        .collect();
    for (block, lanes) in found.iter().flatten().enumerate() {
        for lane in 0..LANES.min(cols - block * LANES) {
            let at: [usize; 4] = std::array::from_fn(|k| k * cols + block * LANES + lane);
            let mut column = lanes.map(|values| values[lane]);
            if p.before > 0 {
                column = merged(p, at.map(|i| state[i]), column);
            }
            at.iter().zip(column).for_each(|(i, value)| state[*i] = value);
        }
    }
}

vectorized! {
    /// The statistics of `width` columns from `first` on, [`LANES`] at a time.
    fn batch(x: &[f32], cols: usize, first: usize, width: usize, shares: &[f32]) -> Vec<[[f32; LANES]; 4]> {
        let mut all = vec![[[f32::MAX; LANES], [f32::MIN; LANES], [0.0; LANES], [0.0; LANES]]; width.div_ceil(LANES)];
        for (row, share) in x.chunks_exact(cols).zip(shares) {
            let (whole, tail) = row[first..first + width].as_chunks::<LANES>();
            for (values, lanes) in whole.iter().zip(&mut all) {
                enter_all(values, *share, lanes);
            }
            if let (false, Some(lanes)) = (tail.is_empty(), all.last_mut()) {
                let mut values = [0.0; LANES];
                values[..tail.len()].copy_from_slice(tail);
                enter_all(&values, *share, lanes);
            }
        }
        all
    }
}

#[inline(always)]
fn enter_all(values: &[f32; LANES], share: f32, lanes: &mut [[f32; LANES]; 4]) {
    let [least, most, mean, m2] = lanes;
    for lane in 0..LANES {
        let mut column = [least[lane], most[lane], mean[lane], m2[lane]];
        enter(&mut column, values[lane], share);
        [least[lane], most[lane], mean[lane], m2[lane]] = column;
    }
}
