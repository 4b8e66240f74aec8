//! The search for the fewest bytes inside a budget of quality, by measurement.

mod evaluator;
mod measured;

pub use evaluator::{GradualEvaluator, Prefix, swap_in};
pub use measured::Measured;
