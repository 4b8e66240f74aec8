//! Operations: check shapes, choose a variant, record.

mod activations;
pub mod choose;
mod quantize;

pub use activations::Activations;
pub use quantize::{Quantization, WeightError, quantize};
