//! What becomes of a value.

use super::Coding;
use crate::calib::Histogram;

/// Scale, zero point and codes of a range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coder {
    pub(super) scale: f64,
    pub(super) zero: f64,
    pub(super) min_code: f64,
    pub(super) max_code: f64,
}

impl Coder {
    /// For values of a range, with the scale in its storage type.
    pub(super) fn new([min, max]: [f32; 2], coding: Coding) -> Self {
        let (scale, zero) = coding.rule.scale_and_zero(min, max, coding.scheme);
        Self {
            scale: f64::from(scale),
            zero: f64::from(zero),
            min_code: if coding.scheme.is_symmetric() { f64::from(coding.rule.min_code()) } else { 0.0 },
            max_code: f64::from(coding.scheme.bits().max_code()),
        }
    }

    /// The value that stands for another.
    pub(super) fn decoded(&self, x: f64) -> f64 {
        let code = (x / self.scale).round_ties_even() + self.zero;
        (code.clamp(self.min_code, self.max_code) - self.zero) * self.scale
    }

    /// The sum of squared errors of all values.
    pub(super) fn squared_error(&self, values: &Histogram) -> f64 {
        let errors = values.bins().filter(|(_, n)| *n > 0);
        errors.map(|(x, n)| (x - self.decoded(x)).powi(2) * n as f64).sum()
    }
}

/// The range of all values, shrunk.
pub(super) fn shrunk(values: &Histogram, share: f32, coding: Coding) -> [f32; 2] {
    let [min, max] = [values.min() * share, values.max() * share];
    if coding.scheme.is_symmetric() {
        // Both ends have the same number of codes, whichever is needed.
        let most = min.abs().max(max.abs());
        return [(-most).max(values.min()), most.min(values.max())];
    }
    [min, max]
}
