//! Data that methods learn from.

mod dataset;

pub use dataset::{CalibrationConfig, CalibrationDataset, CalibrationFacts};
