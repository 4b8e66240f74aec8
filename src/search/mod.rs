//! The search for the fewest bytes inside a budget of quality, by measurement.

mod evaluator;
mod importance;
mod measured;

pub use evaluator::{GradualEvaluator, Prefix, swap_in};
pub use importance::{
    Combination, Finding, Importance, ImportanceAnalyzer, ImportanceConfig, Measure, MeasureCost, PredictedErrors,
    RankCorrelation, ThresholdRule, UnitImportance, normalised, predicted, rank_correlation, thresholds,
};
pub use measured::Measured;
