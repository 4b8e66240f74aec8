//! Operations: check shapes, choose a variant, record.

mod activations;
mod cache;
mod checks;
pub mod choose;
mod elementwise;
mod norm;
mod rope;

pub use activations::Activations;
pub use cache::{Cache, store_rows};
pub use elementwise::{activate, add, add_bias, gate};
pub use norm::{layer_norm, rms_norm, rms_norm_heads};
pub use rope::{Rope, RopeScaling, RopeTable, inverse_frequencies, rope, rope_into};
