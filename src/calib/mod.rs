//! What is learned from data: token sequences, and the walk that shows them to a model block by block.

mod calibrator;
mod dataset;
mod inputs;
mod samples;
mod store;

pub use calibrator::{CalibratedBlock, Calibrator};
pub use dataset::CalibrationDataset;
pub use inputs::Inputs;
pub use samples::Samples;
