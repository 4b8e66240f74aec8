//! A budget, split among the blocks.

use super::UnitImportance;

/// What each block, or layer, may cost of a `budget`, in the unit of the budget: in proportion to its weights, as they are
/// what is saved. All together are the budget. [`source_budgets`](crate::search::source_budgets) splits by importance.
///
/// ```
/// use bitsmith::search::{UnitImportance, thresholds};
/// let unit = |block, weights| UnitImportance { path: String::new(), block, weights, findings: Vec::new(), score: 0.5 };
/// assert_eq!(thresholds(&[unit(0, 100), unit(1, 300)], 0.04), [0.01, 0.03]);
/// ```
pub fn thresholds(units: &[UnitImportance], budget: f64) -> Vec<f64> {
    let total: u64 = units.iter().map(|unit| unit.weights).sum();
    units.iter().map(|unit| budget * unit.weights as f64 / total.max(1) as f64).collect()
}
