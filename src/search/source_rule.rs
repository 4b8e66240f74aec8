//! The split rule of Bitween gradual, for comparison: the more important a block, the larger its share of the budget, and of two
//! groups the smaller one counts as the smaller model, though it takes more bytes. Its comparison of an absolute increase with
//! percent is left out: everything here is a fraction or nats a token.

use super::allocate::{Allocation, LayerCandidates};
use crate::error::{Error, Result};
use crate::scheme::Span;

/// What was measured of a block or layer: how much is recovered when it alone is as in the original.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SourceScores {
    /// Perplexity, of a model with noise in every weight.
    pub noise_perplexity: f64,
    /// Perplexity, of a model with 4 bits in every weight.
    pub rtn_perplexity: f64,
    /// KL divergence in nats a token, with noise.
    pub noise_kl: f64,
    /// KL divergence in nats a token, with 4 bits.
    pub rtn_kl: f64,
}

/// The importance of each block as Bitween gradual combines it: every measure from 0 to 1 over the blocks, then 0.7 for
/// perplexity (0.3 noise, 0.7 RTN) and 0.3 for divergence (0.4 noise, 0.6 RTN).
///
/// ```
/// use bitsmith::search::{SourceScores, source_importance};
/// let block = |rtn| SourceScores { rtn_perplexity: rtn, rtn_kl: rtn, ..SourceScores::default() };
/// let importance = source_importance(&[block(1.0), block(3.0)]);
/// // Measures that are equal everywhere count one half.
/// assert!((importance[0] - (0.7 * 0.3 + 0.3 * 0.4) * 0.5).abs() < 1e-12);
/// assert!((importance[1] - importance[0] - (0.7 * 0.7 + 0.3 * 0.6)).abs() < 1e-12);
/// ```
pub fn source_importance(scores: &[SourceScores]) -> Vec<f64> {
    let measures: [fn(&SourceScores) -> f64; 4] =
        [|s| s.noise_perplexity, |s| s.rtn_perplexity, |s| s.noise_kl, |s| s.rtn_kl];
    let [noise, rtn, noise_kl, rtn_kl] = measures.map(|of| normalised(scores.iter().map(of)));
    (0..scores.len())
        .map(|i| 0.7 * (0.3 * noise[i] + 0.7 * rtn[i]) + 0.3 * (0.4 * noise_kl[i] + 0.6 * rtn_kl[i]))
        .collect()
}

/// From 0 to 1; 0.5 where all are equal. What is below 0 counts as 0.
fn normalised(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.map(|value| value.max(0.0)).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let range = values.iter().copied().fold(0.0, f64::max) - least;
    values.iter().map(|value| if range > 0.0 { (value - least) / range } else { 0.5 }).collect()
}

/// The budget of each block: `budget * safety * importance / sum of importance`. A block of no importance may cost nothing.
///
/// ```
/// use bitsmith::search::source_budgets;
/// assert_eq!(source_budgets(0.5, 2.0, &[1.0, 3.0, 0.0]), [0.25, 0.75, 0.0]);
/// ```
pub fn source_budgets(budget: f64, safety: f64, importance: &[f64]) -> Vec<f64> {
    let sum: f64 = importance.iter().sum();
    let share = |value: &f64| if sum > 0.0 { budget * safety * value / sum } else { 0.0 };
    importance.iter().map(share).collect()
}

/// For each layer the candidate that Bitween gradual ends with: the fewest bits whose loss is within the layer's budget, and of
/// these the smallest groups. A group size that fails at some bits is not tried with fewer. A layer of which nothing is within
/// its budget keeps the candidate with the most bytes; what all of them lose together is not looked at.
///
/// # Errors
/// [`Error::Config`] if there is not one budget for each layer, or for a layer without candidates.
pub fn source_allocation(layers: &[LayerCandidates], budgets: &[f64]) -> Result<Allocation> {
    if layers.len() != budgets.len() {
        let detail = format!("there are {} for {} layers", budgets.len(), layers.len());
        return Err(Error::config("budgets", detail));
    }
    let choice =
        layers.iter().zip(budgets).map(|(layer, budget)| chosen(layer, *budget)).collect::<Result<Vec<_>>>()?;
    let all = || layers.iter().zip(&choice).map(|(layer, index)| layer.candidates[*index]);
    let (bytes, loss) = (all().map(|c| c.bytes).sum(), all().map(|c| c.loss).sum());
    Ok(Allocation { choice, bytes, loss, exact: false })
}

fn chosen(layer: &LayerCandidates, budget: f64) -> Result<usize> {
    let group = |index: &usize| match layer.candidates[*index].scheme.span() {
        Span::Group(size) => size,
        Span::Channel | Span::Tensor => u16::MAX,
    };
    let bits = |index: &usize| layer.candidates[*index].scheme.bits();
    let mut order: Vec<usize> = (0..layer.candidates.len()).collect();
    order.sort_by(|a, b| bits(b).cmp(&bits(a)).then(group(b).cmp(&group(a))));
    let (mut failed, mut best) = (Vec::new(), None);
    for index in order {
        if failed.contains(&group(&index)) {
            continue;
        }
        if layer.candidates[index].loss <= budget {
            best = Some(index);
        } else {
            failed.push(group(&index));
        }
    }
    let most = || (0..layer.candidates.len()).max_by_key(|index| layer.candidates[*index].bytes);
    best.or_else(most).ok_or_else(|| Error::config("bits_ladder", format!("{} has nothing to choose from", layer.path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Candidate;

    fn layer(candidates: &[(&str, u64, f64)]) -> LayerCandidates {
        let candidate = |&(scheme, bytes, loss): &(&str, u64, f64)| Candidate {
            scheme: scheme.parse().expect("a scheme"),
            bytes,
            loss,
        };
        LayerCandidates { path: "a".into(), candidates: candidates.iter().map(candidate).collect() }
    }

    #[test]
    fn smaller_groups_count_as_smaller_though_they_are_not() {
        let layers = [layer(&[
            ("w4g64s", 450, 0.02),
            ("w4g32s", 500, 0.01),
            ("w8g64s", 850, 0.0),
            ("w8g32s", 900, 0.0),
            ("w2g64s", 250, 0.0),
        ])];
        let of = |budget| source_allocation(&layers, &[budget]).expect("candidates").choice[0];
        assert_eq!((of(0.02), of(0.01), of(0.005)), (4, 1, 3));
        // Groups of 64 failed at 4 bits, so 2 bits are not tried, however good they are.
        assert_eq!(source_allocation(&layers, &[0.01]).expect("candidates").bytes, 500);
        assert_eq!(of(-1.0), 3, "nothing fits: the most bytes");
        assert!(source_allocation(&layers, &[]).is_err() && source_allocation(&[layer(&[])], &[1.0]).is_err());
    }

    #[test]
    fn importance_is_between_its_extremes() {
        let block = |v| SourceScores { noise_perplexity: v, rtn_perplexity: v, noise_kl: v, rtn_kl: v };
        assert_eq!(source_importance(&[block(-3.0), block(0.0), block(2.0)]), [0.0, 0.0, 1.0]);
        assert_eq!(source_importance(&[block(7.0); 2]), [0.5; 2]);
        assert_eq!(source_budgets(1.0, 1.0, &[0.0, 0.0]), [0.0, 0.0]);
        let budgets = source_budgets(0.05, 2.0, &source_importance(&[block(1.0), block(2.0), block(4.0)]));
        assert!((budgets.iter().sum::<f64>() - 0.1).abs() < 1e-15 && budgets.is_sorted());
    }
}
