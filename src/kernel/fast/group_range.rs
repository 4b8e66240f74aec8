//! Fast [`GroupRange`](crate::kernel::group_range).

use rayon::prelude::*;

use super::stored::{Stored, by_dtype, elements};
use super::{LANES, rows};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::group_range::{Params, scheme_of};
use crate::scheme::{RangeRule, Scheme};

/// Values of one group that are worth several tasks.
const PIECE: usize = 1 << 18;

/// Extremes of the values of a group. A NaN is in neither, and is told by [`row_bounds`] for all groups at once.
#[derive(Clone, Copy)]
struct Bounds {
    min: f32,
    max: f32,
}

impl Bounds {
    const EMPTY: Self = Self { min: f32::MAX, max: f32::MIN };

    fn join(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

pub fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [w, mut scales, mut zeros] = bindings.take();
    let groups = (p.rows * p.groups_per_row) as usize;
    let (scales, zeros) = (&mut scales.f32_mut()[..groups], &mut zeros.words_mut()[..groups]);
    by_dtype!(variant.dtype(Role::Weight), ranges(p, w.words(), scales, zeros));
}

fn ranges<T: Stored>(p: &Params, w: &[u32], scales: &mut [f32], zeros: &mut [u32]) {
    let (cols, per_row) = (p.cols as usize, p.groups_per_row as usize);
    let w = &elements::<T>(w)[..p.rows as usize * cols];
    let rows = rows::per_task(cols);
    if cols == 0 || w.len() <= rows * cols {
        return row_ranges(p, w, scales, zeros);
    }
    let tasks = scales.par_chunks_mut(rows * per_row).zip(zeros.par_chunks_mut(rows * per_row));
    tasks.zip(w.par_chunks(rows * cols)).for_each(|((scales, zeros), w)| row_ranges(p, w, scales, zeros));
}

fn row_ranges<T: Stored>(p: &Params, w: &[T], scales: &mut [f32], zeros: &mut [u32]) {
    let (scheme, rule) = (scheme_of(p), RangeRule::from_tag(p.rule));
    let per_row = p.groups_per_row as usize;
    let mut bounds = vec![Bounds::EMPTY; per_row];
    let outputs = scales.chunks_exact_mut(per_row).zip(zeros.chunks_exact_mut(per_row));
    for (row, (scales, zeros)) in w.chunks_exact(p.cols as usize).zip(outputs) {
        let finite = if p.group as usize > PIECE {
            large_bounds(row, p.group as usize, &mut bounds)
        } else {
            row_bounds(row, p.group as usize, &mut bounds)
        };
        let groups = Groups { bounds: &bounds, finite, values: row, size: p.group as usize };
        scales_and_zeros(&groups, rule, scheme, scales, zeros);
    }
}

/// [`row_bounds`] by threads; extremes do not depend on the order they are found in.
fn large_bounds<T: Stored>(row: &[T], group: usize, bounds: &mut [Bounds]) -> bool {
    let piece = |piece: &[T]| {
        let mut bounds = [Bounds::EMPTY];
        let finite = row_bounds(piece, PIECE, &mut bounds);
        (bounds[0], finite)
    };
    let join = |(a, x): (Bounds, bool), (b, y): (Bounds, bool)| (a.join(b), x & y);
    let mut all_finite = true;
    for (bounds, group) in bounds.iter_mut().zip(row.chunks(group)) {
        let (found, finite) = group.par_chunks(PIECE).map(piece).reduce(|| (Bounds::EMPTY, true), join);
        *bounds = found;
        all_finite &= finite;
    }
    all_finite
}

/// The groups of a row with their bounds, and whether all values are finite.
struct Groups<'a, T> {
    bounds: &'a [Bounds],
    finite: bool,
    values: &'a [T],
    size: usize,
}

/// Scale and zero point of a group. `finite` is false if the row has a value that is no number or infinite.
#[inline(always)]
fn range<T: Stored>(bounds: Bounds, finite: bool, group: &[T], rule: RangeRule, scheme: Scheme) -> (f32, u8) {
    if !finite && group.iter().any(|v| !v.value().is_finite()) {
        return rule.scale_and_zero(f32::NAN, bounds.max, scheme);
    }
    if bounds.min == 0.0 && bounds.max == 0.0 {
        // Only zeros: the sign of the scale follows from theirs, in the twin's order.
        let each = |(min, max): (f32, f32), v: &T| (min.min(v.value()), max.max(v.value()));
        let (min, max) = group.iter().fold((f32::MAX, f32::MIN), each);
        return rule.scale_and_zero(min, max, scheme);
    }
    rule.scale_and_zero(bounds.min, bounds.max, scheme)
}

vectorized! {
    fn scales_and_zeros<T: Stored>(
        groups: &Groups<'_, T>,
        rule: RangeRule,
        scheme: Scheme,
        scales: &mut [f32],
        zeros: &mut [u32],
    ) {
        let outputs = scales.iter_mut().zip(zeros);
        for ((values, bounds), (scale, zero)) in groups.values.chunks(groups.size).zip(groups.bounds).zip(outputs) {
            let (found, middle) = range(*bounds, groups.finite, values, rule, scheme);
            (*scale, *zero) = (found, u32::from(middle));
        }
    }

    /// The extremes of each group of a row, and whether all values are finite.
    fn row_bounds<T: Stored>(row: &[T], group: usize, bounds: &mut [Bounds]) -> bool {
        // Bits of the largest magnitudes: they tell what is not finite, NaN included, which comparisons overlook.
        let mut largest = [0; LANES];
        for (bounds, values) in bounds.iter_mut().zip(row.chunks(group)) {
            let (mut min, mut max) = ([f32::MAX; LANES], [f32::MIN; LANES]);
            let mut step = |lane: usize, value: f32| {
                min[lane] = if value < min[lane] { value } else { min[lane] };
                max[lane] = if value > max[lane] { value } else { max[lane] };
                largest[lane] = value.abs().to_bits().max(largest[lane]);
            };
            let (chunks, rest) = values.as_chunks::<LANES>();
            for chunk in chunks {
                for (lane, value) in chunk.iter().enumerate() {
                    step(lane, value.value());
                }
            }
            for (lane, value) in rest.iter().enumerate() {
                step(lane, value.value());
            }
            let mut width = LANES / 2;
            while width > 0 {
                for lane in 0..width {
                    let other = lane + width;
                    min[lane] = if min[other] < min[lane] { min[other] } else { min[lane] };
                    max[lane] = if max[other] > max[lane] { max[other] } else { max[lane] };
                }
                width /= 2;
            }
            *bounds = Bounds { min: min[0], max: max[0] };
        }
        largest.iter().all(|bits| *bits < f32::INFINITY.to_bits())
    }
}
