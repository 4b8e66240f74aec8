//! A budget, split among the blocks.

use serde::{Deserialize, Serialize};

use super::UnitImportance;

/// How a budget is split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThresholdRule {
    /// In proportion to the weights of a block: a block may cost what it saves. All together are the budget.
    Weights,
    /// As the system does that this method comes from: in proportion to the score, times a factor. The more important a
    /// block, the more it may lose, one of score 0 may lose nothing, and all together are `safety` budgets.
    Source {
        /// The factor, 2 in that system.
        safety: f64,
    },
}

/// What each block may cost of a `budget`, in the unit of the budget.
///
/// ```
/// use bitsmith::search::{ThresholdRule, UnitImportance, thresholds};
/// let unit = |block, weights, score| UnitImportance { path: String::new(), block, weights, findings: Vec::new(), score };
/// let blocks = [unit(0, 100, 0.9), unit(1, 300, 0.3)];
/// assert_eq!(thresholds(&blocks, 0.04, ThresholdRule::Weights), [0.01, 0.03]);
/// let source = thresholds(&blocks, 0.04, ThresholdRule::Source { safety: 2.0 });
/// assert!((source[0] - 0.06).abs() < 1e-12 && (source[1] - 0.02).abs() < 1e-12);
/// ```
pub fn thresholds(blocks: &[UnitImportance], budget: f64, rule: ThresholdRule) -> Vec<f64> {
    let (shares, budget): (Vec<f64>, f64) = match rule {
        ThresholdRule::Weights => (blocks.iter().map(|block| block.weights as f64).collect(), budget),
        ThresholdRule::Source { safety } => (blocks.iter().map(|block| block.score).collect(), budget * safety),
    };
    let total: f64 = shares.iter().sum();
    // Without any share, all are alike.
    let of = |share: f64| if total > 0.0 { share / total } else { 1.0 / blocks.len() as f64 };
    shares.into_iter().map(|share| budget * of(share)).collect()
}
