//! Fast [`GroupSearch`](crate::kernel::group_search): one candidate a lane, the same operations in the same order as the
//! twin's, so the same bits.

use rayon::prelude::*;

use super::stored::{Stored, by_dtype, decode, elements};
use super::{LANES, rows};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::group_search::{Group, LEAST, LEAST_ALONG, Params};
use crate::scheme::{Rounding, nearest_integer};

pub fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [w, importance, mut scales, mut zeros] = bindings.take();
    let groups = (p.rows * p.groups_per_row) as usize;
    let (scales, zeros) = (&mut scales.f32_mut()[..groups], &mut zeros.words_mut()[..groups]);
    by_dtype!(variant.dtype(Role::Weight), by_rows(p, w.words(), importance.f32(), scales, zeros));
}

fn by_rows<T: Stored>(p: &Params, w: &[u32], importance: &[f32], scales: &mut [f32], zeros: &mut [u32]) {
    let (cols, per_row) = (p.cols as usize, p.groups_per_row as usize);
    if cols == 0 || per_row == 0 {
        return;
    }
    let w = &elements::<T>(w)[..p.rows as usize * cols];
    let rows = rows::per_task(cols * p.candidates());
    let tasks = scales.par_chunks_mut(rows * per_row).zip(zeros.par_chunks_mut(rows * per_row));
    tasks.zip(w.par_chunks(rows * cols)).for_each(|((scales, zeros), w)| {
        let mut values = vec![0.0; cols];
        let outputs = scales.chunks_mut(per_row).zip(zeros.chunks_mut(per_row));
        for (row, (scales, zeros)) in w.chunks_exact(cols).zip(outputs) {
            decode(row, &mut values);
            let groups = values.chunks(p.group as usize).zip(importance.chunks(p.group as usize));
            for ((values, importance), (scale, zero)) in groups.zip(scales.iter_mut().zip(zeros)) {
                (*scale, *zero) = best(p, values, &importance[..values.len()]);
            }
        }
    });
}

/// Scale and zero point of a group.
pub fn best(p: &Params, values: &[f32], importance: &[f32]) -> (f32, u32) {
    let (low, high, finite) = bounds(values);
    if !finite {
        return (f32::NAN, 1 << (p.bits - 1));
    }
    let group = Group::new(p, low, high);
    let (mut chosen, mut least) = (0, f32::MAX);
    for first in (0..p.candidates()).step_by(LANES) {
        let mut lanes = Lanes::default();
        let here = (p.candidates() - first).min(LANES);
        for lane in 0..LANES {
            // Lanes behind the last candidate repeat it.
            let (scale, zero) = group.candidate(p, first + lane.min(here - 1));
            lanes.set(lane, scale, zero, group.unit, p.bits);
        }
        let errors = errors(values, importance, &lanes, group.unit);
        for (lane, error) in errors.into_iter().enumerate().take(here) {
            if lanes.scale[lane].is_finite() && error < least {
                (chosen, least) = (first + lane, error);
            }
        }
    }
    let (scale, zero) = group.candidate(p, chosen);
    (scale, zero as u32)
}

/// Candidates, one a lane.
#[derive(Default)]
struct Lanes {
    scale: [f32; LANES],
    /// The magnitude of the scale, one by that, and the scale in the unit of differences.
    size: [f32; LANES],
    inverse: [f32; LANES],
    step: [f32; LANES],
    /// The sign that values take over from the scale.
    sign: [f32; LANES],
    /// Fewest and most steps from 0.
    fewest: [f32; LANES],
    most: [f32; LANES],
}

impl Lanes {
    fn set(&mut self, lane: usize, scale: f32, zero: i32, unit: f32, bits: u32) {
        self.scale[lane] = scale;
        self.size[lane] = scale.abs();
        self.inverse[lane] = 1.0 / scale.abs();
        self.step[lane] = scale * unit;
        self.sign[lane] = if scale < 0.0 { -1.0 } else { 1.0 };
        self.fewest[lane] = -zero as f32;
        self.most[lane] = ((1 << bits) - 1 - zero) as f32;
    }
}

/// A number whose last significand bit is worth 1: added to a small integer it leaves that in the low bits.
const SHIFT: f32 = 12_582_912.0;

vectorized! {
    /// The extremes of values and 0, and whether all are finite.
    fn bounds(values: &[f32]) -> (f32, f32, bool) {
        let (mut low, mut high, mut largest) = (0.0, 0.0, 0);
        for value in values {
            low = if *value < low { *value } else { low };
            high = if *value > high { *value } else { high };
            largest = value.abs().to_bits().max(largest);
        }
        (low, high, largest < f32::INFINITY.to_bits())
    }

    /// The error of each candidate.
    fn errors(values: &[f32], importance: &[f32], lanes: &Lanes, unit: f32) -> [f32; LANES] {
        let energy: f32 = values.iter().zip(importance).map(|(w, h)| h * (w * unit) * (w * unit)).sum();
        let (mut sums, mut along) = ([0.0; LANES], [0.0f32; LANES]);
        for (value, importance) in values.iter().zip(importance) {
            let (mut steps, mut doubts) = ([0.0; LANES], [0u8; LANES]);
            for lane in 0..LANES {
                let (value, size) = (value * lanes.sign[lane], lanes.size[lane]);
                let guess = (value * lanes.inverse[lane] + SHIFT) - SHIFT;
                // Strictly between the rounded middles on both sides the specification finds no other.
                let sure = (value > size * (guess - 0.5)) & (value < size * (guess + 0.5));
                (steps[lane], doubts[lane]) = (guess, u8::from(!sure));
            }
            if doubts != [0; LANES] {
                for lane in (0..LANES).filter(|lane| doubts[*lane] != 0) {
                    steps[lane] = nearest_integer(*value, lanes.scale[lane], Rounding::HalfEven, 0.0) as f32;
                }
            }
            for lane in 0..LANES {
                let steps = if steps[lane] < lanes.fewest[lane] { lanes.fewest[lane] } else { steps[lane] };
                let steps = if steps > lanes.most[lane] { lanes.most[lane] } else { steps };
                let difference = value * unit - lanes.step[lane] * steps;
                let difference = if difference.abs() < LEAST { 0.0 } else { difference };
                sums[lane] += importance * difference * difference;
                along[lane] += importance * difference * (value * unit);
            }
        }
        for lane in 0..LANES {
            let along = if along[lane].abs() < LEAST_ALONG { 0.0 } else { along[lane] };
            sums[lane] = sums[lane] * energy + 2.0 * along * along;
        }
        sums
    }
}
