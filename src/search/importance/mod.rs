//! How important the layers and blocks of a model are: what it costs to change each by itself.

mod analyzer;
mod combination;
mod config;
mod forms;
mod found;
mod measure;
mod prediction;
mod rank;
mod thresholds;

pub use analyzer::ImportanceAnalyzer;
pub use combination::{Combination, normalised};
pub use config::ImportanceConfig;
pub use found::{Finding, Importance, MeasureCost, RankCorrelation, UnitImportance};
pub use measure::Measure;
pub use prediction::{PredictedErrors, predicted};
pub use rank::rank_correlation;
pub use thresholds::thresholds;
