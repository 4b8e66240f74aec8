//! What is learned from data: token sequences, and the walk that shows them to a model block by block.

mod calibrator;
mod dataset;
mod gram;
mod inputs;
mod moments;
mod observe;
mod samples;

pub use calibrator::{CalibratedBlock, Calibrator};
pub use dataset::CalibrationDataset;
pub use gram::GramMatrix;
pub use inputs::Inputs;
pub use moments::SecondMoments;
pub use samples::Samples;
