//! What a changed model costs, measured against the original.

use serde::{Deserialize, Serialize};

/// What came of a measurement, per token, over all sequences. The original was measured on the same tokens, so its
/// difference is known far better than either loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Mean negative log-likelihood, in nats a token.
    pub nll: f64,
    /// What of it the original does not have: the logarithm of the ratio of perplexities.
    pub difference: f64,
    /// The standard error of [`Self::difference`] as an estimate for all texts of the kind.
    pub difference_error: f64,
    /// Mean KL(original || changed), in nats a token.
    pub kl: f64,
    /// Its standard error.
    pub kl_error: f64,
}

impl Measured {
    /// Perplexity of the changed model.
    pub fn perplexity(&self) -> f64 {
        self.nll.exp()
    }

    /// Perplexity of the original.
    pub fn original_perplexity(&self) -> f64 {
        (self.nll - self.difference).exp()
    }

    /// By how much perplexity rose, as a share of the original's.
    ///
    /// ```
    /// use bitsmith::search::Measured;
    /// let of = |difference: f64| Measured { nll: 1.0, difference, difference_error: 0.0, kl: 0.0, kl_error: 0.0 };
    /// assert!((of(1.05f64.ln()).increase() - 0.05).abs() < 1e-12);
    /// ```
    pub fn increase(&self) -> f64 {
        self.difference.exp_m1()
    }

    /// Of each token's loss in the changed model and in the original, and its divergence; `sequences` of equal length,
    /// one after the other. What is no number counts as [`WORST`].
    pub(super) fn of(nll: &[f32], original: &[f32], kl: &[f32], sequences: usize) -> Self {
        let value = |x: &f32| if x.is_finite() { f64::from(*x) } else { WORST };
        let difference: Vec<f64> = nll.iter().zip(original).map(|(a, b)| value(a) - value(b)).collect();
        let kl: Vec<f64> = kl.iter().map(value).collect();
        let nll: Vec<f64> = nll.iter().map(value).collect();
        let ([difference, difference_error], [kl, kl_error]) = (mean(&difference, sequences), mean(&kl, sequences));
        Self { nll: mean(&nll, sequences)[0], difference, difference_error, kl, kl_error }
    }
}

/// The loss of a token to which a broken model gives no probability, in nats.
const WORST: f64 = 1e4;
/// Sequences from which on their means tell the error: tokens of one sequence are not independent.
const ENOUGH: usize = 8;

/// Mean and standard error.
fn mean(values: &[f64], sequences: usize) -> [f64; 2] {
    let average = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let length = if sequences >= ENOUGH { values.len() / sequences } else { 1 };
    let means: Vec<f64> = values.chunks(length.max(1)).map(average).collect();
    let (mean, n) = (average(&means), means.len() as f64);
    let squares: f64 = means.iter().map(|value| (value - mean).powi(2)).sum();
    [mean, if n > 1.0 { (squares / (n - 1.0) / n).sqrt() } else { 0.0 }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_sequences_where_there_are_enough() {
        // Tokens of a sequence are all alike, so that more of them tell nothing more.
        let alike = |each: usize| (0..8).flat_map(|i| vec![f64::from(i); each]).collect::<Vec<_>>();
        let (one, ten) = (mean(&alike(1), 8), mean(&alike(10), 8));
        assert_eq!(one, ten);
        assert!((one[0] - 3.5).abs() < 1e-12 && (one[1] - (6.0f64 / 8.0).sqrt()).abs() < 1e-12, "{one:?}");
        assert_eq!(mean(&[1.0, 2.0, 3.0], 1), [2.0, (1.0f64 / 3.0).sqrt()]);
        assert_eq!((mean(&[5.0], 1), mean(&[], 1)), ([5.0, 0.0], [0.0, 0.0]));
    }

    #[test]
    fn differences_are_paired() {
        let found = Measured::of(&[3.0, 1.0], &[2.5, 0.5], &[0.25, 0.75], 1);
        assert_eq!((found.nll, found.difference, found.difference_error), (2.0, 0.5, 0.0));
        assert_eq!((found.kl, found.kl_error), (0.5, 0.25));
        assert_eq!(Measured::of(&[f32::NAN], &[1.0], &[f32::INFINITY], 1).kl, WORST);
        assert!((found.perplexity() / found.original_perplexity() - 1.0 - found.increase()).abs() < 1e-12);
    }
}
