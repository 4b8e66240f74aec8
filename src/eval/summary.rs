//! Statistics of per-token values.

use serde::Serialize;

/// A mean and its standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Standard deviation of the values over the square root of their number.
    pub error: f64,
}

impl Estimate {
    /// Of these values, in two passes.
    ///
    /// ```
    /// let e = bitsmith::eval::Estimate::of(&[1.0, 2.0, 3.0]);
    /// assert_eq!((e.mean, e.error), (2.0, (1.0f64 / 3.0).sqrt()));
    /// ```
    pub fn of(values: &[f32]) -> Self {
        let n = values.len().max(1) as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let squares = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
        let variance = if values.len() > 1 { squares / (n - 1.0) } else { 0.0 };
        Self { mean, error: (variance / n).sqrt() }
    }
}

/// The distance of a model from its reference, per token: KL(reference || model) in nats, the reversed
/// KL(model || reference), and how often both find the same token most likely.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it: mean, its standard error, and percentiles")]
pub struct KlSummary {
    pub kl_mean: f64,
    pub kl_mean_error: f64,
    pub kl_median: f64,
    pub kl_p90: f64,
    pub kl_p95: f64,
    pub kl_p99: f64,
    pub kl_max: f64,
    pub reversed_kl_mean: f64,
    pub reversed_kl_mean_error: f64,
    pub top1_agreement: f64,
    pub top1_agreement_error: f64,
}

impl KlSummary {
    /// Of KL and reversed KL per token, and of 1 where the most likely tokens agree and 0 elsewhere.
    pub(super) fn of(kl: &[[f32; 2]], same_top1: &[f32]) -> Self {
        let column = |i: usize| kl.iter().map(|row| row[i]).collect::<Vec<f32>>();
        let (mut forward, reversed) = (column(0), Estimate::of(&column(1)));
        let (mean, same) = (Estimate::of(&forward), Estimate::of(same_top1));
        forward.sort_by(f32::total_cmp);
        let at = |share| percentile(&forward, share);
        Self {
            kl_mean: mean.mean,
            kl_mean_error: mean.error,
            kl_median: at(0.5),
            kl_p90: at(0.9),
            kl_p95: at(0.95),
            kl_p99: at(0.99),
            kl_max: at(1.0),
            reversed_kl_mean: reversed.mean,
            reversed_kl_mean_error: reversed.error,
            top1_agreement: same.mean,
            top1_agreement_error: same.error,
        }
    }
}

/// The value below which this share of the sorted values lies, interpolated between neighbours.
fn percentile(sorted: &[f32], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share * last as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and last")]
    let below = place as usize;
    let (low, high) = (f64::from(sorted[below]), f64::from(sorted[(below + 1).min(last)]));
    low + (high - low) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate() {
        let sorted = [0.0, 1.0, 2.0, 4.0];
        assert_eq!([0.0, 0.5, 1.0].map(|s| percentile(&sorted, s)), [0.0, 1.5, 4.0]);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
