//! Mixed precision: which layer takes how few bits, found by measuring.

mod accepted;
mod allocate;
mod block;
mod budget;
mod builder;
mod codes_file;
mod config;
mod course;
mod evaluator;
mod facts;
mod gradual;
mod history;
mod importance;
mod importance_weights;
mod knapsack;
mod ladder;
mod measured;
mod moves;
mod parts;

mod sensitivity;
mod source_rule;
mod split;
mod stage;
#[cfg(test)]
mod tests;
mod trials;
mod tuned;
mod walk;

pub use accepted::AcceptedStore;
pub use allocate::{Allocation, Candidate, LayerCandidates, PrecisionOptimizer};
pub use block::GradualBlock;
pub use budget::{Budgets, Goal, Increase, Target};
pub use builder::MixedPrecisionBuilder;
pub use config::MixedPrecisionConfig;
pub use evaluator::{GradualEvaluator, Prefix, swap_in};
pub use gradual::GradualQuantizer;
pub use importance::{
    Combination, Finding, Importance, ImportanceAnalyzer, ImportanceConfig, Measure, MeasureCost, PredictedErrors,
    RankCorrelation, UnitImportance, normalised, predicted, rank_correlation, thresholds,
};
pub use importance_weights::ImportanceWeights;
pub use ladder::{BitsLadder, Ladder};
pub use measured::Measured;
pub use source_rule::{SourceScores, source_allocation, source_budgets, source_importance};
pub use split::Split;
