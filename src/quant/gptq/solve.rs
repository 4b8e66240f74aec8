//! The codes of a weight, column by column: the error that a column's codes make in the output is taken up by the columns
//! that have none yet. Rows know nothing of each other and are worked on in parallel.

use rayon::prelude::*;

use super::cholesky::inverse_factor;
use crate::error::Result;
use crate::kernel::gemm::{Strided, strided};
use crate::kernel::group_search::{self, search};
use crate::op::proportions;
use crate::scheme::{Groups, RangeRule, Rounding, Scheme, nearest_integer};
use crate::tensor::QuantizedTensor;

/// Columns between two products that pass errors on: within them errors go from column to column.
const BLOCK: usize = 128;
/// Rows that a task takes: enough to make the products worth their while.
const ROWS: usize = 64;
/// How often the damping is raised, tenfold each time, before the matrix is given up.
const ATTEMPTS: i32 = 4;

/// How columns depend on each other in the output of a layer.
pub struct Factor {
    /// The columns in the order in which they get their codes.
    order: Vec<usize>,
    /// Upper triangular, in that order; `U' U` is the inverse of the damped Gram matrix.
    upper: Vec<f32>,
    /// How much the error of each column counts where a scale is searched for, in its own place.
    importance: Vec<f32>,
    /// The damping that was needed, as a share of the mean of the diagonal.
    pub damping: f64,
}

impl Factor {
    /// From a Gram matrix, `[cols, cols]`. Nothing if it cannot be made positive definite: it holds what is no number.
    pub fn new(gram: &[f32], cols: usize, damping: f64, act_order: bool) -> Option<Self> {
        let diagonal: Vec<f32> = (0..cols).map(|i| gram[i * cols + i]).collect();
        let mean = diagonal.iter().map(|d| f64::from(*d)).sum::<f64>() / cols.max(1) as f64;
        if !mean.is_finite() {
            return None;
        }
        let mut order: Vec<usize> = (0..cols).collect();
        if act_order {
            order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
        }
        // Inputs that are all 0 say nothing: columns are then independent.
        let mean = if mean > 0.0 { mean } else { 1.0 };
        let mut matrix = vec![0.0; cols * cols];
        for attempt in 0..ATTEMPTS {
            let damping = damping * 10f64.powi(attempt);
            matrix.par_chunks_mut(cols.max(1)).zip(&order).enumerate().for_each(|(i, (row, from))| {
                let gram = &gram[from * cols..][..cols];
                row.iter_mut().zip(&order).for_each(|(to, col)| *to = f64::from(gram[*col]));
                row[i] += damping * mean;
            });
            if let Some(upper) = inverse_factor(&matrix, cols) {
                // What is left of a column's error when all columns behind it have taken up their part.
                let mut costs = vec![0.0; cols];
                order.iter().zip(upper.iter().step_by(cols + 1)).for_each(|(col, u)| costs[*col] = 1.0 / (u * u));
                return Some(Self { order, upper, importance: proportions(&costs), damping });
            }
        }
        None
    }
}

/// How the scales of groups are found.
#[derive(Clone, Copy)]
pub struct Ranges {
    /// By a weighted search, else from the extremes.
    pub search: bool,
    /// From the original weight, else, group by group, from what the columns before have made of it.
    pub fixed: bool,
}

/// The codes of a weight, `[rows, cols]`, all finite.
pub fn solve(weight: &[f32], rows: usize, scheme: Scheme, factor: &Factor, ranges: Ranges) -> Result<QuantizedTensor> {
    let cols = factor.order.len();
    let groups = scheme.groups(rows, cols);
    let (mut codes, mut scales) = (vec![0; rows * cols], vec![0.0; groups.count()]);
    let mut zeros = vec![scheme.bits().middle(); groups.count()];
    let per_row = groups.per_row();
    // Few rows are split further, for all threads to have some; sums do not cross rows.
    let panel = rows.div_ceil(16).clamp(1, ROWS);
    let outputs = codes.par_chunks_mut(panel * cols).zip(scales.par_chunks_mut(panel * per_row));
    let outputs = outputs.zip(zeros.par_chunks_mut(panel * per_row));
    outputs.zip(weight.par_chunks(panel * cols)).for_each(|(((codes, scales), zeros), weight)| {
        Panel { scheme, groups, factor, ranges, codes, scales, zeros }.solve(weight);
    });
    QuantizedTensor::new(scheme, rows, cols, codes, scales, (!scheme.is_symmetric()).then_some(zeros))
}

/// Some rows and what becomes of them.
struct Panel<'a> {
    scheme: Scheme,
    groups: Groups,
    factor: &'a Factor,
    ranges: Ranges,
    codes: &'a mut [u8],
    scales: &'a mut [f32],
    zeros: &'a mut [u8],
}

impl Panel<'_> {
    fn solve(&mut self, weight: &[f32]) {
        let (order, cols) = (&self.factor.order, self.factor.order.len());
        let rows = weight.len() / cols;
        // Columns in the order of work.
        let mut left: Vec<f32> = weight.chunks_exact(cols).flat_map(|row| order.iter().map(|col| row[*col])).collect();
        let mut errors = vec![0.0; rows * cols];
        let fixed = self.ranges.fixed || self.groups.size() >= cols;
        if fixed {
            for (row, values) in weight.chunks_exact(cols).enumerate() {
                (0..self.groups.per_row()).for_each(|group| self.range(row, group, values));
            }
        }
        // Groups end where blocks end, so that a group's values are complete where its range is found.
        let size = self.groups.size().min(cols);
        let block = if size >= BLOCK { if fixed { BLOCK } else { size } } else { BLOCK / size * size };
        let mut passed = Vec::new();
        for start in (0..cols).step_by(block) {
            let end = cols.min(start + block);
            if start > 0 {
                passed.clear();
                passed.resize(rows * (end - start), 0.0);
                let errors = Strided { values: &errors, row: cols, step: 1 };
                let upper = Strided { values: &self.factor.upper[start..], row: 1, step: cols };
                strided(errors, upper, start, end - start, &mut passed, false);
                for (left, passed) in left.chunks_exact_mut(cols).zip(passed.chunks_exact(end - start)) {
                    left[start..end].iter_mut().zip(passed).for_each(|(left, passed)| *left -= passed);
                }
            }
            for row in 0..rows {
                let left = &mut left[row * cols..][..cols];
                let errors = &mut errors[row * cols..][..cols];
                for at in start..end {
                    if !fixed && at % size == 0 {
                        self.range(row, at / size, left);
                    }
                    errors[at] = self.column(row, at, left[at]);
                    let upper = &self.factor.upper[at * cols..][at + 1..end];
                    left[at + 1..end].iter_mut().zip(upper).for_each(|(left, upper)| *left -= errors[at] * upper);
                }
            }
        }
    }

    /// Scale and zero point of a group, from the values of its row.
    fn range(&mut self, row: usize, group: usize, values: &[f32]) {
        let cols = group * self.groups.size()..((group + 1) * self.groups.size()).min(values.len());
        let values = &values[cols.clone()];
        let to = row * self.groups.per_row() + group;
        (self.scales[to], self.zeros[to]) = if self.ranges.search {
            let params = group_search::Params::new(1, 0, 0, 1, self.scheme);
            search(&params, values, &self.factor.importance[cols])
        } else {
            let low = values.iter().copied().fold(f32::MAX, f32::min);
            let high = values.iter().copied().fold(f32::MIN, f32::max);
            RangeRule::FullRange.scale_and_zero(low, high, self.scheme)
        };
    }

    /// The code of a value in a column; returns what is left of it, in the unit in which it is passed on.
    fn column(&mut self, row: usize, at: usize, value: f32) -> f32 {
        let (col, cols) = (self.factor.order[at], self.factor.order.len());
        let group = row * self.groups.per_row() + col / self.groups.size();
        let (scale, zero) = (self.scales[group], i32::from(self.zeros[group]));
        let most = i32::from(self.scheme.bits().max_code());
        let code = (nearest_integer(value, scale, Rounding::HalfEven, 0.0) + zero).clamp(0, most);
        self.codes[row * cols + col] = code.to_le_bytes()[0];
        (value - (code - zero) as f32 * scale) / self.factor.upper[at * cols + at]
    }
}
