//! A range that is learned.

use super::coder::Coder;
use super::{Coding, MeanSquaredError, RangeMethod};
use crate::calib::Histogram;

/// Learns both ends of the range, each for itself, by gradient descent on the squared error; rounding counts as the
/// identity in the derivatives ("Learned Step Size Quantization", 2020). It starts from the best range with both ends
/// alike, and the best range it sees is the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradient {
    iterations: u32,
}

impl Gradient {
    /// With this many steps.
    pub fn new(iterations: u32) -> Self {
        Self { iterations }
    }
}

impl Default for Gradient {
    fn default() -> Self {
        Self { iterations: 200 }
    }
}

/// The first step, as a share of the range; no step is longer.
const FIRST_STEP: f32 = 0.05;
/// What a step becomes when the gradient's sign turned, and when it did not.
const SLOWER: f32 = 0.5;
const FASTER: f32 = 1.2;

impl RangeMethod for Gradient {
    fn name(&self) -> &str {
        "gradient"
    }

    fn range(&self, values: &Histogram, coding: Coding) -> [f32; 2] {
        let start = MeanSquaredError.range(values, coding);
        let [min, max] = [values.min(), values.max()];
        let (limits, mut ends) = if coding.scheme.is_symmetric() {
            let [most, extent] = [[min, max], start].map(|[a, b]| a.abs().max(b.abs()));
            ([[-most, 0.0], [0.0, most]], [-extent, extent])
        } else {
            ([[min, min.max(0.0)], [max.min(0.0), max]], start)
        };
        let range = |ends: [f32; 2]| [ends[0].max(min), ends[1].min(max)];
        let error = |ends| Coder::new(range(ends), coding).squared_error(values);
        let mut best = (error(ends), ends);
        let longest = FIRST_STEP * (ends[1] - ends[0]);
        // Each end goes by the sign of its gradient, in steps that grow while the sign stays and shrink when it turns.
        let (mut steps, mut before) = ([longest; 2], [0.0; 2]);
        for _ in 0..self.iterations {
            let gradient = derivatives(values, range(ends), coding);
            for end in 0..2 {
                let turn = gradient[end] * before[end];
                steps[end] = (steps[end] * if turn < 0.0 { SLOWER } else { FASTER }).min(longest);
                if gradient[end] != 0.0 {
                    let to = if gradient[end] > 0.0 { ends[end] - steps[end] } else { ends[end] + steps[end] };
                    ends[end] = to.clamp(limits[end][0], limits[end][1]);
                }
            }
            before = gradient;
            let found = error(ends);
            if found < best.0 {
                best = (found, ends);
            }
        }
        range(best.1)
    }
}

/// The derivatives of the squared error by the ends of the range. A value inside moves with the ends by what rounding
/// made of it; a clipped value follows its end.
fn derivatives(values: &Histogram, [min, max]: [f32; 2], coding: Coding) -> [f64; 2] {
    let coder = Coder::new([min, max], coding);
    let levels = coder.max_code - coder.min_code;
    let mut found = [0.0; 2];
    for (x, n) in values.bins().filter(|(_, n)| *n > 0) {
        let (decoded, steps) = (coder.decoded(x), x / coder.scale);
        let code = steps.round_ties_even() + coder.zero;
        let factor = 2.0 * (decoded - x) * n as f64;
        if code < coder.min_code || code > coder.max_code {
            found[usize::from(decoded > 0.0)] += factor;
        } else {
            let by_scale = (decoded / coder.scale - steps) / levels;
            found[0] -= factor * by_scale;
            found[1] += factor * by_scale;
        }
    }
    if coding.scheme.is_symmetric() {
        // The ends are one: the larger moves both.
        let by_extent = found[1] - found[0];
        return [-by_extent, by_extent];
    }
    found
}
