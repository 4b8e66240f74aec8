//! Operations: check shapes, choose a variant, record.

mod activations;
pub mod choose;

pub use activations::Activations;
