//! What is learned from data: token sequences, and the walk that shows them to a model block by block.

mod calibrator;
mod dataset;
mod gram;
mod histogram;
mod input_histograms;
mod inputs;
mod moments;
mod moving_range;
mod observe;
mod range;
mod ranges;
mod samples;
mod statistics;
mod store;

pub use calibrator::{CalibratedBlock, Calibrator};
pub use dataset::{CalibrationConfig, CalibrationDataset};
pub use gram::GramMatrix;
pub use histogram::Histogram;
pub use input_histograms::input_histograms;
pub use inputs::Inputs;
pub use moments::SecondMoments;
pub use moving_range::MovingRange;
pub use range::{
    Coding, Gradient, KlDivergence, MeanSquaredError, MinMax, Percentile, RANGE_METHODS, RangeMethod, range_method,
};
pub use ranges::Ranges;
pub use samples::Samples;
pub(crate) use samples::stacked;
pub use statistics::InputStatistics;
