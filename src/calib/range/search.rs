//! The range with the least squared error.

use super::coder::{Coder, shrunk};
use super::{Coding, RangeMethod};
use crate::calib::Histogram;

/// Ranges that are tried.
const CANDIDATES: u16 = 100;

/// Tries the range of all values and hundredths of it, both ends alike, and takes the one with the least sum of squared
/// errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeanSquaredError;

impl RangeMethod for MeanSquaredError {
    fn name(&self) -> &str {
        "mse"
    }

    fn range(&self, values: &Histogram, coding: Coding) -> [f32; 2] {
        let ranges = (1..=CANDIDATES).rev().map(|i| shrunk(values, f32::from(i) / f32::from(CANDIDATES), coding));
        let errors = ranges.map(|range| (range, Coder::new(range, coding).squared_error(values)));
        let best = errors.min_by(|(_, a), (_, b)| a.total_cmp(b));
        best.map_or([values.min(), values.max()], |(range, _)| range)
    }
}
