//! The range that changes the distribution of values least.

use super::coder::{Coder, shrunk};
use super::{Coding, RangeMethod};
use crate::calib::Histogram;

/// Ranges that are tried.
const CANDIDATES: u16 = 128;
/// The share of a bin's probability that it is given where the codes leave it none: a divergence is finite then.
const SMOOTHING: f64 = 1e-4;

/// Tries the range of all values and parts of it, both ends alike, and takes the one for which the distribution of the
/// decoded values is closest to that of the values by Kullback-Leibler divergence. As TensorRT does ("8-bit Inference with
/// TensorRT", 2017): what is clipped counts at the ends of the range, and the values of a code are spread evenly over the
/// bins that they came from. Values next to zero do not count: zero is exact in any range, and after a ReLU it is so
/// frequent that nothing else would matter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KlDivergence;

impl RangeMethod for KlDivergence {
    fn name(&self) -> &str {
        "kl"
    }

    fn range(&self, values: &Histogram, coding: Coding) -> [f32; 2] {
        let bins = values.bins().filter(|(x, n)| *n > 0 && x.abs() > values.width());
        let bins: Vec<(f64, f64)> = bins.map(|(x, n)| (x, n as f64)).collect();
        let ranges = (1..=CANDIDATES).rev().map(|i| shrunk(values, f32::from(i) / f32::from(CANDIDATES), coding));
        let found = ranges.map(|range| (range, divergence(&bins, range, coding)));
        let best = found.min_by(|(_, a), (_, b)| a.total_cmp(b));
        best.map_or([values.min(), values.max()], |(range, _)| range)
    }
}

/// How far the distribution of what is inside a range, with what is clipped at its ends, is from that of its codes.
fn divergence(bins: &[(f64, f64)], [min, max]: [f32; 2], coding: Coding) -> f64 {
    let (min, max) = (f64::from(min), f64::from(max));
    let start = bins.partition_point(|(x, _)| *x < min);
    let end = bins.partition_point(|(x, _)| *x <= max);
    let inside = &bins[start.min(end)..end];
    if inside.is_empty() {
        return f64::INFINITY;
    }
    let mass = |bins: &[(f64, f64)]| bins.iter().map(|(_, n)| n).sum::<f64>();
    let total = mass(bins);
    let mut clipped: Vec<f64> = inside.iter().map(|(_, n)| *n).collect();
    clipped[0] += mass(&bins[..start.min(end)]);
    *clipped.last_mut().expect("checked above") += mass(&bins[end..]);

    // The codes know nothing of what was clipped: where much was, the ends differ.
    #[allow(clippy::cast_precision_loss, reason = "ends that were f32")]
    let coder = Coder::new([min as f32, max as f32], coding);
    let kept = mass(inside);
    let mut divergence = 0.0;
    let mut rest = (inside, &clipped[..]);
    while let Some((first, _)) = rest.0.first() {
        let code = coder.decoded(*first);
        let same = rest.0.partition_point(|(x, _)| (coder.decoded(*x) - code).abs() <= f64::EPSILON * code.abs());
        let (group, after) = rest.0.split_at(same.max(1));
        let (shares, shares_after) = rest.1.split_at(same.max(1));
        let each = mass(group) / group.len() as f64 / kept;
        for n in shares {
            let p = n / total;
            divergence += p * (p / each.max(p * SMOOTHING)).ln();
        }
        rest = (after, shares_after);
    }
    divergence
}
